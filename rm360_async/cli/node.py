"""`rm360 node`: work for runs of other machines."""

from __future__ import annotations

import platform
from pathlib import Path

import click

from rm360_async.cli.options import run_async
from rm360_async.cluster.requirements import INSTALL, has_dask
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.exit_code import ExitCode
from rm360_async.system.linux import require_linux


@click.command("node")
@click.option("--scheduler-file", type=click.Path(path_type=Path), help="cluster.scheduler_file of the run.")
@click.option("--name", help="The name in logs and in `rm360 status`; default: that of the machine.")
@click.option("--temp-dir", help="Downloads on their way, on a disk of this machine; default: cluster.temp_dir.")
@click.option("--downloads", type=click.IntRange(1, 64), help="Files open at once at most.")
@click.option("--idle-minutes", type=click.FloatRange(0), help="End when there was nothing to do for so long.")
@click.option("--tls", type=click.Path(path_type=Path), help="The folder of the keys; default: cluster.tls of the run.")
@click.option("--drain", metavar="NAME", help="Have this node of a run finish what it has, and leave.")
@click.option("--make-keys", metavar="FOLDER", type=click.Path(path_type=Path), help="Make the keys of a new cluster.")
def command(
    scheduler_file: Path | None,
    name: str | None,
    temp_dir: str | None,
    downloads: int | None,
    idle_minutes: float | None,
    tls: Path | None,
    drain: str | None,
    make_keys: Path | None,
) -> int:
    """Wait for a run whose config has this cluster.scheduler_file, work for it, and wait for the next one.

    TERM or Ctrl-C stops downloads at once and lets running extractions finish; what was downloaded stays in temp_dir,
    and is used when this node is started again.

    \b
    Examples:
      rm360 node --scheduler-file /nfs/lab/cluster.json --temp-dir /scratch/rm360
      srun -N4 rm360 node --scheduler-file /nfs/lab/cluster.json --idle-minutes 10
      rm360 node --scheduler-file /nfs/lab/cluster.json --drain server2
      rm360 node --make-keys ~/.config/rm360/cluster     # then copy the folder to each machine
    """
    require_linux("rm360 node")
    if not has_dask():
        raise BadRequest(f"rm360 node needs Dask.distributed: {INSTALL}")
    if make_keys is not None:
        _make_keys(make_keys)
        return ExitCode.DONE
    if scheduler_file is None:
        raise BadRequest("--scheduler-file is missing; give cluster.scheduler_file of the run's config")
    if drain is not None:
        from rm360_async.cluster.drain import drain_node

        return run_async(drain_node, scheduler_file, tls, drain)
    from rm360_async.cluster.node import run_node
    from rm360_async.cluster.node_options import NodeOptions

    options = NodeOptions(scheduler_file, name or platform.node(), temp_dir, downloads, idle_minutes, tls)
    return run_async(run_node, options)


def _make_keys(folder: Path) -> None:
    from rm360_async.cluster.keys import make_keys

    make_keys(folder.expanduser())
    click.echo(f"made the keys in {folder}; copy the folder to each machine, and set cluster.tls to it")
