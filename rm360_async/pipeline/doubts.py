"""The failures of one run that a person must fix if they last: how long each has lasted, and the pause meanwhile.

While one is in doubt, nothing is started until the performance that failed asks again. `domain.doubt` decides.
"""

from __future__ import annotations

import logging
import math

from rm360_async.domain.clock import Clock
from rm360_async.domain.doubt import (
    Attendance,
    Doubt,
    Patience,
    confirmed,
    depends_on_remote,
    is_believed,
    patience_in_mid_run,
)
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.formatting import time_text
from rm360_async.domain.retry import RetryPolicy
from rm360_async.pipeline.scheduler import Scheduler

_log = logging.getLogger(__name__)


class Doubts:
    """Keeps the doubts of one run, and pauses its scheduler."""

    def __init__(self, scheduler: Scheduler, policy: RetryPolicy, clock: Clock, attendance: Attendance) -> None:
        self.scheduler, self.policy, self.clock, self.attendance = scheduler, policy, clock, attendance
        self.published = 0
        """Folders published in this run."""
        self._doubts: dict[Cause, Doubt] = {}
        self._shown: Cause | None = None
        """Of the failure that the scheduler shows as its trouble."""

    def confirm(self, fault: Fault, fetched_bytes: int) -> Doubt | None:
        """Return the doubt that a failure begins or confirms, None if no person would have to fix it.

        `fetched_bytes` are all those of the run: while they grow, the remote answers.
        """
        if self._patience(fault).seconds == math.inf:
            return None
        successes = fetched_bytes if depends_on_remote(fault.cause) else self.published
        doubt = confirmed(self._doubts.get(fault.cause), fault, self.clock.monotonic(), successes)
        self._doubts[fault.cause] = doubt
        return doubt

    def is_believed(self, doubt: Doubt) -> bool:
        """Return True if it has lasted, so that it ends the run."""
        return is_believed(doubt, self._patience(doubt.fault))

    def pause(self, doubt: Doubt, seconds: float) -> None:
        """Start nothing for so long, and say why; inf: never again, because the run ends."""
        end = self.clock.now() + self._patience(doubt.fault).seconds - (doubt.last - doubt.since)
        trouble = f"asking again, and the run ends if this lasts until {time_text(end)}: {doubt.fault}"
        if self._shown is None and seconds < math.inf:
            _log.warning(trouble)
        self._shown = doubt.fault.cause
        self.scheduler.pause(seconds, trouble)

    def answered(self) -> None:
        """Note that the remote has answered: a trouble that depends on it is over."""
        self._end_trouble(remote=True)

    def was_published(self) -> None:
        """Note that a folder was published: a trouble that depends on the disks is over."""
        self.published += 1
        self._end_trouble(remote=False)

    def _end_trouble(self, *, remote: bool) -> None:
        if self._shown is not None and depends_on_remote(self._shown) is remote:
            self._shown, self.scheduler.trouble = None, ""

    def _patience(self, fault: Fault) -> Patience:
        return patience_in_mid_run(fault.cause, self.attendance, self.policy)
