"""`rm360 node --drain`: have a node finish what it has, and leave."""

from __future__ import annotations

from pathlib import Path

from rm360_async.cluster.dask_node import request_drain
from rm360_async.cluster.scheduler_file import read_scheduler_file, why_no_run
from rm360_async.domain.errors import BadRequest, Cause, Fault
from rm360_async.domain.exit_code import ExitCode
from rm360_async.system.disk_threads import on_disk_thread

_ERROR = "error: "


async def drain_node(scheduler_file: Path, tls: Path | None, name: str) -> int:
    """Ask the run for it, and print what it answers; return the exit code."""
    coordinator = await on_disk_thread(read_scheduler_file, scheduler_file, tls)
    try:
        if coordinator is None:
            raise OSError(why_no_run(scheduler_file))
        answer = await request_drain(coordinator, name)
    except (OSError, TimeoutError) as error:
        hint = "see `rm360 status` whether it is active"
        raise Fault(Cause.UNREACHABLE, f"no run answers by {scheduler_file}: {error}", hint) from error
    if answer.startswith(_ERROR):
        raise BadRequest(answer.removeprefix(_ERROR))
    print(answer)
    return ExitCode.DONE
