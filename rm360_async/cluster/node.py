"""`rm360 node`: wait for a run, work for it, wait for the next one."""

from __future__ import annotations

import signal

import anyio
from anyio import open_signal_receiver

from rm360_async.cluster.dask_node import connected, reachable
from rm360_async.cluster.leaving import Leaving
from rm360_async.cluster.node_log import log_to_console
from rm360_async.cluster.node_options import NodeOptions
from rm360_async.cluster.node_serve import serve
from rm360_async.cluster.scheduler_file import CoordinatorAddress, read_scheduler_file, why_no_run
from rm360_async.domain.exit_code import ExitCode
from rm360_async.system.exception_groups import unwraps_faults
from rm360_async.system.log import logger

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
            tasks.start_soon(_watch_signals, leaving)
            await _serve_runs(options, leaving)
            tasks.cancel_scope.cancel()
    log.info(f"the node ends: {leaving.reason}")
    return leaving.exit_code


async def _serve_runs(options: NodeOptions, leaving: Leaving) -> None:
    is_there = read_scheduler_file(options.scheduler_file) is not None
    why = "" if is_there else f" ({why_no_run(options.scheduler_file)})"
    log.info(f"waiting for a run: {options.scheduler_file}{why}")
    silent = None
    while not leaving.is_set:
        written = read_scheduler_file(options.scheduler_file, options.tls)
        coordinator = None if written is None else await reachable(written)
        if written is not None and coordinator is None and written != silent:
            silent, where = written, " or ".join(written.addresses)
            log.warning(f"nothing answers at {where}: the run was killed, or has other keys; waiting")
        if coordinator is not None:
            await _serve(coordinator, options, leaving)
            if not leaving.is_set:
                log.info("the run is gone; waiting for the next one")
        with anyio.move_on_after(_POLL_SECONDS):
            await leaving.wait()


async def _serve(coordinator: CoordinatorAddress, options: NodeOptions, leaving: Leaving) -> None:
    try:
        async with connected(coordinator) as link:
            await serve(link, options, leaving)
    except (OSError, TimeoutError) as error:
        log.warning(f"cannot reach the run at {coordinator.address}: {error}")


async def _watch_signals(leaving: Leaving) -> None:
    with open_signal_receiver(*_SIGNALS) as signals:
        async for number in signals:
            code = ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.TERMINATED
            log.warning(f"leaving: running extractions may finish, downloads stop ({signal.Signals(number).name})")
            leaving.leave(f"{signal.Signals(number).name}", urgent=True, exit_code=code)
