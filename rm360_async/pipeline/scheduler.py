"""The scheduler of one run: which performance is pending, waiting, active, held by others, or ended.

Invariant: every planned performance is in exactly one of these collections, so that
planned = pending + waiting + active + held by others + ended holds at every await. `next_job` hands out
what is pending, in plan order and behind it what was given back, then the waits that are due; so a wait ends not
before its time, and later while much is pending. It decides by itself when nothing is left, and never polls a clock
that it was not given.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import anyio

from rm360_async.domain.clock import SYSTEM_CLOCK, Clock
from rm360_async.domain.errors import Cause
from rm360_async.domain.names import Performance
from rm360_async.domain.stage import ENDED, Stage
from rm360_async.domain.state import PlannedState, is_due
from rm360_async.pipeline.job import Job

RETRY_INTERVAL = 2.0
"""Seconds after which a performance that another instance was working on is tried again."""
_MAX_SLEEP = 60.0
"""Seconds; a wall clock that is set back must not let the scheduler sleep for years."""


@dataclass(frozen=True)
class Wait:
    """Until when a performance waits (unix seconds), and for what."""

    until: float
    cause: Cause | None
    reason: str


class Scheduler:
    """Hand out jobs; know what every other performance is waiting for."""

    def __init__(
        self,
        *,
        wait_for_quota: bool = True,
        clock: Clock = SYSTEM_CLOCK,
        retry_interval: float = RETRY_INTERVAL,
    ) -> None:
        self.pending: OrderedDict[Performance, None] = OrderedDict()
        self.waiting: dict[Performance, Wait] = {}
        self.active: dict[Performance, Job] = {}
        self.held_by_others: dict[Performance, float] = {}
        """When (unix seconds) each performance that another instance was working on is tried again."""
        self.ended: dict[Performance, Stage] = {}
        self.stopped = anyio.Event()
        """Set once no further job is handed out, because a stop was asked for."""
        self._wait_for_quota = wait_for_quota
        self._clock = clock
        self._retry_interval = retry_interval
        self._changed = anyio.Event()

    @property
    def stopping(self) -> bool:
        """Return True if no further job is handed out, because a stop was asked for."""
        return self.stopped.is_set()

    @property
    def planned(self) -> int:
        """Return the number of all performances of this run."""
        collections = (self.pending, self.waiting, self.active, self.held_by_others, self.ended)
        return sum(len(each) for each in collections)

    def update(self, performance: Performance, state: PlannedState) -> None:
        """Add a performance, or take back an active one, in the state that it is in now."""
        self._remove(performance)
        if state.stage in ENDED:
            self.ended[performance] = state.stage
        elif state.stage is Stage.WAITING and state.wait_until is not None:
            self.waiting[performance] = Wait(state.wait_until, state.cause, state.reason)
        else:
            self.pending[performance] = None
        self._notify()

    def retry_later(self, performance: Performance) -> None:
        """Hand a performance that another instance is working on out again after `retry_interval`."""
        self._remove(performance)
        self.held_by_others[performance] = self._clock.now() + self._retry_interval
        self._notify()

    def stop_admitting(self) -> None:
        """Hand out no further job."""
        self.stopped.set()
        self._notify()

    async def next_job(self) -> Job | None:
        """Return the next job, which is active from now on; None when nothing is left to hand out."""
        while not self.stopping:
            performance = self._next_due()
            if performance is not None:
                self._remove(performance)
                job = self.active[performance] = Job(performance, clock=self._clock)
                return job
            if self._nothing_to_come():
                return None
            await self._wait_for_change()
        return None

    def first_due(self) -> float | None:
        """Return when the first waiting performance is due (unix seconds); None if none waits."""
        return min((wait.until for wait in self.waiting.values()), default=None)

    def _next_due(self) -> Performance | None:
        if self.pending:
            return next(iter(self.pending))
        now = self._clock.now()
        due = [(wait.until, p.sort_key, p) for p, wait in self.waiting.items() if is_due(wait.until, now)]
        # A moment further away than it can be means that the wall clock was set back.
        latest = now + self._retry_interval
        due += [(at, p.sort_key, p) for p, at in self.held_by_others.items() if at <= now or at > latest]
        return min(due)[2] if due else None

    def _nothing_to_come(self) -> bool:
        if self.active or self.held_by_others:
            return False
        return all(not self._wait_for_quota and wait.cause is Cause.FILE_QUOTA for wait in self.waiting.values())

    async def _wait_for_change(self) -> None:
        changed = self._changed
        moments = [wait.until for wait in self.waiting.values()] + list(self.held_by_others.values())
        pause = min(max(0.0, min(moments) - self._clock.now()), _MAX_SLEEP) if moments else _MAX_SLEEP
        with anyio.move_on_after(pause):
            await changed.wait()

    def _remove(self, performance: Performance) -> None:
        for collection in (self.pending, self.waiting, self.active, self.held_by_others, self.ended):
            collection.pop(performance, None)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
