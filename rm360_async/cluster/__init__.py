"""One run on several machines: `rm360 run` is the coordinator, `rm360 node` works for it on each machine.

Theory of operation. Dask.distributed is membership, transport (mutual TLS beyond this machine) and the stream of
messages to a named node; its scheduler runs inside `rm360 run`, and a node is one of its workers. It is given no task:
it would run one twice, drain nothing and forget on a restart. So retries, placement, limits and exactly-once are
those of `pipeline`, and a message is JSON text, which needs no pickle.

`ClusterStages` has some stages done on a node, by the same functions as on one machine: reserve (in the node's spool),
download, extract, cleanup. The ledger, the claims, the promise of the output disk, and publishing stay with the
coordinator. A node seals a staging folder of a name of its own beside the final place, on the file system that all
share. The coordinator renames it, and only the one that the step returned which it waits for. So a node that was given
up, and comes back, writes where nothing is ever renamed: at least once below, exactly once in what is published.

Nothing here is imported without `cluster:` in the config, and only `dask_coordinator`, `dask_node` and `dask_settings`
import Dask.
"""
