"""`rm360 node`: wait for a run, work for it, wait for the next one."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskStatus

from rm360_async.cluster.dask_node import connected, reachable
from rm360_async.cluster.leaving import Leaving
from rm360_async.cluster.node_log import log_to_console
from rm360_async.cluster.node_options import NodeOptions
from rm360_async.cluster.node_serve import serve
from rm360_async.cluster.scheduler_file import CoordinatorAddress, read_scheduler_file, why_no_run
from rm360_async.domain.exit_code import ExitCode
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.exception_groups import unwraps_faults
from rm360_async.system.log import logger
from rm360_async.system.stop_signals import taken_signals

log = logger(__name__)
_POLL_SECONDS = 1.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""Slurm announces the time limit by a signal of the user's choice: USR1 in `scripts/slurm-nodes`."""


async def run_node(options: NodeOptions) -> int:
    """Serve one run after the other until a signal, or until idle for too long; return the exit code.

    Raises Fault if a run refuses this node.
    """
    log_to_console()
    leaving = Leaving(options.idle_minutes)
    with unwraps_faults():
        async with anyio.create_task_group() as tasks:
            await tasks.start(_watch_signals, leaving, tasks.cancel_scope)
            await _serve_runs(options, leaving)
            tasks.cancel_scope.cancel()
    log.info(f"the node ends: {leaving.reason}")
    return leaving.exit_code


async def _serve_runs(options: NodeOptions, leaving: Leaving) -> None:
    async with _until_leaving(leaving):
        await _announce(options)
    silent = None
    while not leaving.is_set:
        async with _until_leaving(leaving):
            silent = await _serve_next(options, leaving, silent)
        with anyio.move_on_after(_POLL_SECONDS):
            await leaving.wait()


@asynccontextmanager
async def _until_leaving(leaving: Leaving) -> AsyncIterator[None]:
    """Cancel the block when the node is to leave, but for its work for a run, which ends in order by itself."""

    async def watch() -> None:
        await leaving.wait()
        if not leaving.has_session:
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        yield
        tasks.cancel_scope.cancel()


async def _announce(options: NodeOptions) -> None:
    path = options.scheduler_file
    is_there = await on_disk_thread(read_scheduler_file, path, abandon=True) is not None
    why = "" if is_there else f" ({await on_disk_thread(why_no_run, path, abandon=True)})"
    log.info(f"waiting for a run: {path}{why}")


async def _serve_next(
    options: NodeOptions, leaving: Leaving, silent: CoordinatorAddress | None
) -> CoordinatorAddress | None:
    """Serve the run of the scheduler file, if there is one; return it if it does not answer (`silent`: as before)."""
    written = await on_disk_thread(read_scheduler_file, options.scheduler_file, options.tls, abandon=True)
    if written is None:
        return silent
    coordinator = await reachable(written)
    if coordinator is None:
        if written != silent:
            where = " or ".join(written.addresses)
            log.warning(f"nothing answers at {where}: the run was killed, or has other keys; waiting")
        return written
    await _serve(coordinator, options, leaving)
    if not leaving.is_set:
        log.info("the run is gone; waiting for the next one")
    return silent


async def _serve(coordinator: CoordinatorAddress, options: NodeOptions, leaving: Leaving) -> None:
    try:
        async with connected(coordinator) as link:
            await serve(link, options, leaving)
    except (OSError, TimeoutError) as error:
        log.warning(f"cannot reach the run at {coordinator.address}: {error}")


async def _watch_signals(
    leaving: Leaving, scope: anyio.CancelScope, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Have the node leave at the first signal, and stop at once at the second."""
    with taken_signals(*_SIGNALS) as signals:
        task_status.started()
        number = await anext(signals)
        code = ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.TERMINATED
        how = "running extractions may finish, downloads stop" if leaving.has_session else "it has no run"
        log.warning(f"leaving: {how} ({number.name}); a second signal stops at once")
        leaving.leave(number.name, urgent=True, exit_code=code)
        number = await anext(signals)
        log.warning(f"stopping at once ({number.name})")
        leaving.leave(number.name, urgent=True, exit_code=ExitCode.CANNOT_CONTINUE)
        scope.cancel()
