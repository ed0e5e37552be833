"""Leases of bytes (and inodes) on a file system; FIFO; shared between instances.

Theory of operation. Before a download starts, its job takes a lease for everything it is going to
put on disk: staging bytes in temp_dir, and output bytes and files in output_dir. A lease is granted when

- the staging bytes of all instances on this temp_dir, with the files there that have no lease (parts and other
  files, by their allocated blocks), stay within `max_temp_bytes`;
- on each of the two file systems (counted once when they are one), free bytes less what is leased and not
  yet written stay at or above `min_free_bytes`; and likewise inodes.

So the service exceeds neither limit, even if all leases are used to the full. What a lease has
written already is seen in the free bytes, so it is counted as allocated blocks of its spool paths and as
what `Lease.record_written` recorded, never twice. A lease whose staging bytes are all there already adds nothing to
temp_dir; it passes the first rule even if the user has lowered the limit since, else a run could not
finish what it has.

Order is first come, first served over all instances: each ticket has a number, and none is granted before an earlier
one that waits for something it would use too. So a large lease waits for small ones that came before it, never for
those after it, and none starves. One exception keeps parts from blocking each other for ever: when no lease
is granted and parts alone fill the budget, the owner of such a part may go first (the last granted lease
fitted beside all other parts, and those have not grown since, so there always is such an owner).
`policy.may_pass` has a branch for each exception.

Other programs write to the same disks, and an estimate of the output may be too low. So before it extracts, or
continues after a full disk, a lease waits until the rest of what it was promised fits again (`Budget.wait_for_space`),
the oldest first. Files in temp_dir that belong to no live lease may be evicted if nothing else frees space
(`evict_orphans`), under the guard, so that no lease is granted for them at that moment. One file is never leased
twice: instances with ledgers of their own may want the same.

Tickets are files whose locks the kernel drops (see `ticket_queue`): a killed instance releases everything at
that moment. A stopped one (SIGSTOP) keeps its place and its leases.

`policy` decides without I/O, `disk` asks the system, `ticket_queue` is the shared queue, `budget` waits.
"""

from __future__ import annotations

from rm360_async.budget.budget import Budget, Lease
from rm360_async.budget.disk import Disk, Space, SystemDisk
from rm360_async.budget.policy import Lack, Shortage
from rm360_async.budget.ticket_queue import BUSY_SECONDS, Busy, leased_by_others, leased_names
from rm360_async.budget.ticket_queue import FOLDER as LEASES

__all__ = [
    "BUSY_SECONDS",
    "LEASES",
    "Budget",
    "Busy",
    "Disk",
    "Lack",
    "Lease",
    "Shortage",
    "Space",
    "SystemDisk",
    "leased_by_others",
    "leased_names",
]
