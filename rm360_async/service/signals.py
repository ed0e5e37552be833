"""Signals: the first asks for a clean stop, the second for an immediate one.

A signal that the parent process set to be ignored stays ignored: HUP under nohup, INT in the background of a
script. Otherwise HUP, which is sent when the terminal (or tmux window) of a run is closed, is a stop like TERM.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

import anyio
from anyio.abc import TaskStatus

from rm360_async.domain.exit_code import ExitCode
from rm360_async.pipeline.scheduler import Scheduler
from rm360_async.system.log import logger
from rm360_async.system.stop_signals import taken_signals

log = logger(__name__)
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """The stop that a user or systemd asked for: none, a clean one, an immediate one.

    While the pipeline runs (`pipeline_running`), the first signal stops new jobs: downloads stop where they are,
    running extractions may finish within `grace_seconds`. Before that there is nothing to finish, and the signal
    cancels `scope`, in which all the work is done. The second signal always does.
    """

    def __init__(self, scheduler: Scheduler, grace_seconds: float, on_stop: Callable[[], None]) -> None:
        self.scheduler, self.grace_seconds, self._on_stop = scheduler, grace_seconds, on_stop
        self.scope = anyio.CancelScope()
        self.pipeline_running = False
        self.exit_code: ExitCode | None = None
        """What the run returns if the stop leaves work; None as long as no signal came."""

    def renewed_scope(self) -> anyio.CancelScope:
        """Return a new scope for work after the pipeline, which any signal cancels at once."""
        self.scope = anyio.CancelScope()
        self.pipeline_running = False
        return self.scope

    async def watch_signals(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Handle signals until cancelled."""
        with taken_signals(*STOP_SIGNALS) as signals:
            task_status.started()
            async for number in signals:
                self.handle(number)

    def handle(self, number: signal.Signals) -> None:
        """Handle one signal."""
        if self.exit_code is not None:
            log.warning("stopping at once", signal=number.name)
            self.exit_code = ExitCode.CANNOT_CONTINUE
            self.scope.cancel()
            return
        self.exit_code = ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.TERMINATED
        self.scheduler.stop_admitting()
        self._on_stop()
        if not self.pipeline_running:
            log.warning("stopping", signal=number.name)
            self.scope.cancel()
            return
        grace = f"running extractions may finish within {self.grace_seconds:.0f} s"
        log.warning(f"stopping: {grace}; a second signal stops at once", signal=number.name)
        self.scope.deadline = anyio.current_time() + self.grace_seconds
