"""Signals: the first asks for a clean stop, the second for an immediate one.

A signal that whoever started us told us to ignore stays ignored: HUP under nohup, INT in the background of a
script. Else HUP, which comes when the terminal (the tmux window) of a run is closed, is a stop like TERM.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

import anyio
from anyio.abc import TaskStatus

from rm360_async.pipeline.scheduler import Scheduler
from rm360_async.system.log import logger

log = logger(__name__)
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """What a person (or systemd) asked for: nothing yet, a clean stop, a stop at once.

    While the pipeline runs (`working`) the first signal drains: downloads stop where they are, extractions in
    hand may finish within `grace_seconds`. Before that there is nothing to finish, and it cancels `scope`, in
    which all the work is done. The second signal always does.
    """

    def __init__(self, scheduler: Scheduler, grace_seconds: float, on_stop: Callable[[], None]) -> None:
        self.scheduler, self.grace_seconds, self._on_stop = scheduler, grace_seconds, on_stop
        self.scope = anyio.CancelScope()
        self.working = False
        self.at_once = False

    async def obey(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Receive signals until cancelled."""
        before = {number: signal.getsignal(number) for number in STOPS}
        heard = [number for number, answer in before.items() if answer is not signal.SIG_IGN]
        try:
            with anyio.open_signal_receiver(*heard) as received:
                task_status.started()
                async for number in received:
                    self.take(signal.Signals(number).name)
        finally:
            for number in heard:  # the event loop would leave the system's own answer, which kills
                signal.signal(number, before[number])

    def take(self, name: str) -> None:
        """Answer one signal."""
        if self.scheduler.stopping:
            log.warning("stopping at once", signal=name)
            self.at_once = True
            self.scope.cancel()
            return
        self.scheduler.stop_admitting()
        self._on_stop()
        if not self.working:
            log.warning("stopping", signal=name)
            self.scope.cancel()
            return
        grace = f"extractions in hand may finish within {self.grace_seconds:.0f} s; once more stops at once"
        log.warning(f"stopping: {grace}", signal=name)
        self.scope.deadline = anyio.current_time() + self.grace_seconds
