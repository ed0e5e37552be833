"""The books of one run, in memory: what is pending, waiting, in hand, elsewhere, and ended.

Invariant: every planned performance is in exactly one of these places, so that
planned = pending + waiting + in hand + elsewhere + ended holds at every await. `next` hands out the work in
plan order and decides by itself when nothing is left; it never polls a clock that it was not given.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import anyio

from rm360_async.domain.errors import Cause
from rm360_async.domain.names import Performance
from rm360_async.domain.stage import ENDED, Stage
from rm360_async.domain.state import PlannedState, is_due

LOOK_ELSEWHERE = 2.0
"""Seconds between two looks at performances that another instance has in hand."""


@dataclass(frozen=True)
class Wait:
    """Until when a performance waits (unix seconds), and for what."""

    until: float
    cause: Cause | None
    reason: str


class Scheduler:
    """Hand out performances in plan order; know what each of the others is waiting for."""

    def __init__(
        self, *, wait_for_quota: bool = True, now: Callable[[], float] = time.time, look: float = LOOK_ELSEWHERE
    ) -> None:
        self.pending: OrderedDict[Performance, None] = OrderedDict()
        self.waiting: dict[Performance, Wait] = {}
        self.in_hand: set[Performance] = set()
        self.elsewhere: dict[Performance, float] = {}
        self.ended: dict[Performance, Stage] = {}
        self.drained = anyio.Event()
        self._wait_for_quota = wait_for_quota
        self._now = now
        self._look = look
        self._changed = anyio.Event()

    @property
    def draining(self) -> bool:
        """Tell whether nothing more is handed out, because someone asked us to stop."""
        return self.drained.is_set()

    @property
    def planned(self) -> int:
        """Return the number of all performances of this run."""
        places = (self.pending, self.waiting, self.in_hand, self.elsewhere, self.ended)
        return sum(len(place) for place in places)

    def put(self, performance: Performance, standing: PlannedState) -> None:
        """Enter a performance, or give one back from the hand, with where it now stands."""
        self._forget(performance)
        if standing.stage in ENDED:
            self.ended[performance] = standing.stage
        elif standing.stage is Stage.WAITING and standing.wait_until is not None:
            self.waiting[performance] = Wait(standing.wait_until, standing.cause, standing.reason)
        else:
            self.pending[performance] = None
        self._wake()

    def leave_elsewhere(self, performance: Performance) -> None:
        """Note that another instance has it in hand; it is handed out again after a while."""
        self._forget(performance)
        self.elsewhere[performance] = self._now() + self._look
        self._wake()

    def drain(self) -> None:
        """Hand out nothing more."""
        self.drained.set()
        self._wake()

    async def next(self) -> Performance | None:
        """Return the next performance to work on, now in hand; None when nothing is left to hand out."""
        while not self.draining:
            performance = self._due()
            if performance is not None:
                self._forget(performance)
                self.in_hand.add(performance)
                return performance
            if self._nothing_to_come():
                return None
            await self._until_something_happens()
        return None

    def first_due(self) -> float | None:
        """Return when the first waiting performance is due (unix seconds), None when none waits."""
        return min((wait.until for wait in self.waiting.values()), default=None)

    def _due(self) -> Performance | None:
        if self.pending:
            return next(iter(self.pending))
        now = self._now()
        due = [(wait.until, p.sort_key, p) for p, wait in self.waiting.items() if is_due(wait.until, now)]
        # Further away than it can be means that the wall clock was set back.
        due += [(at, p.sort_key, p) for p, at in self.elsewhere.items() if at <= now or at > now + self._look]
        return min(due)[2] if due else None

    def _nothing_to_come(self) -> bool:
        if self.in_hand or self.elsewhere:
            return False
        return all(not self._wait_for_quota and wait.cause is Cause.FILE_QUOTA for wait in self.waiting.values())

    async def _until_something_happens(self) -> None:
        changed = self._changed
        moments = [wait.until for wait in self.waiting.values()] + list(self.elsewhere.values())
        # A wall clock that is set back must not let us sleep for years: look again once a minute.
        pause = min(max(0.0, min(moments) - self._now()), 60.0) if moments else 60.0
        with anyio.move_on_after(pause):
            await changed.wait()

    def _forget(self, performance: Performance) -> None:
        self.pending.pop(performance, None)
        self.waiting.pop(performance, None)
        self.in_hand.discard(performance)
        self.elsewhere.pop(performance, None)
        self.ended.pop(performance, None)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
