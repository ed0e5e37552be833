"""The scheduler of one run: which performance is pending, waiting, active, held by others, or ended.

Invariant: every planned performance is in exactly one of these collections, so that
planned = pending + waiting + active + held by others + ended holds at every await.

The order is one rule. Of what may start now, a performance that was begun goes before one that never was; among
those that were begun the one with the fewest fruitless attempts in a row goes first; and where these are equal, plan
order decides. "May start now" is: pending, or a wait that is due, or held by another instance and to be tried again.
"Begun" is: handed out in this run, or left waiting by an earlier one; what else an earlier run began comes first in
the plan (`service.run_plan`). Two things follow, and are tested as properties.
No due performance waits behind one that was never begun, however many are pending; one that was handed out and still
waits for disk space gives way (`wait_until_passed_over`). And none starves, whatever fails
how often: an attempt that brings nothing moves its performance behind the others that were begun, and each such
failure waits twice as long as the one before (`domain.retry`), which leaves the turn to those never begun.

It decides by itself when nothing is left, and never polls a clock that it was not given.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio
from anyio.lowlevel import checkpoint

from rm360_async.domain.clock import SYSTEM_CLOCK, Clock
from rm360_async.domain.errors import Cause
from rm360_async.domain.names import Performance
from rm360_async.domain.stage import ENDED, FAILURES, Stage
from rm360_async.domain.state import PlannedState, is_due
from rm360_async.pipeline.job import Job

RETRY_INTERVAL = 2.0
"""Seconds after which a performance that another instance was working on is tried again for the first time."""
MAX_RETRY_INTERVAL = 60.0
"""Seconds that this time grows to, doubled each time, while the other instance keeps working."""
_MAX_SLEEP = 60.0
"""Seconds; a wall clock that is set back must not let the scheduler sleep for years."""
_IN_VAIN = 4
"""Attempts in a row that brought nothing, after which a quota is not expected back at the end of the next wait."""


@dataclass(frozen=True)
class Wait:
    """Until when a performance waits (unix seconds), and for what."""

    until: float
    cause: Cause | None
    reason: str


@dataclass
class _Past:
    """What the order needs of a performance's earlier jobs; `position` is that in the plan."""

    position: int
    begun: bool = False
    fruitless_attempts: int = 0
    held_interval: float = 0.0
    """Seconds between the last two tries to claim it while another instance was working on it."""

    @property
    def turn(self) -> tuple[int, int]:
        """Return what sorts the begun performances that may start now."""
        return self.fruitless_attempts, self.position


class Scheduler:
    """Hand out jobs; know what every other performance is waiting for."""

    def __init__(
        self,
        *,
        wait_for_quota: bool = True,
        clock: Clock = SYSTEM_CLOCK,
        retry_interval: float = RETRY_INTERVAL,
    ) -> None:
        self.pending: dict[Performance, None] = {}
        """In plan order, but for those of `_requeued`."""
        self.waiting: dict[Performance, Wait] = {}
        self.active: dict[Performance, Job] = {}
        self.held_by_others: dict[Performance, float] = {}
        """When (unix seconds) each performance that another instance was working on is tried again."""
        self.ended: dict[Performance, Stage] = {}
        self.trouble = ""
        """Why nothing is handed out for now, or was lately; "" once what failed has succeeded again."""
        self.stopped = anyio.Event()
        """Set once no further job is handed out, because a stop was asked for."""
        self._wait_for_quota = wait_for_quota
        self._clock = clock
        self._retry_interval = retry_interval
        self._max_interval = max(retry_interval, MAX_RETRY_INTERVAL)
        self._paused_until = 0.0
        """Monotonic seconds."""
        self._past: dict[Performance, _Past] = {}
        self._requeued: set[Performance] = set()
        """Those of `pending` that were begun."""
        self._idle = 0
        """Callers of `next_job` that wait: each takes a job as soon as one may start and has its turn."""
        self._turns = anyio.Lock(fast_acquire=True)
        self._giving_way = 0
        """Jobs that give way, whose downloader has not asked for another one yet."""
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
        """Add a performance, behind those added before, or take back an active one, in the state that it is in now."""
        past = self._past.setdefault(performance, _Past(len(self._past)))
        past.begun = past.begun or state.stage is Stage.WAITING
        self._remove(performance)
        if state.stage in ENDED:
            self.ended[performance] = state.stage
        elif state.stage is Stage.WAITING and state.wait_until is not None:
            self.waiting[performance] = Wait(state.wait_until, state.cause, state.reason)
        else:
            self.pending[performance] = None
            if past.begun:
                self._requeued.add(performance)
        self._notify()

    def requeue(self, performance: Performance) -> None:
        """Let a performance that waits or has failed start now: a person asked for it."""
        job = self.active.get(performance)
        if job is not None:
            job.end_wait()
        elif performance in self.waiting or self.ended.get(performance) in FAILURES:
            self._past[performance].begun = True
            self.update(performance, PlannedState(Stage.PENDING))

    def retry_later(self, performance: Performance) -> None:
        """Hand a performance that another instance is working on out again: after `retry_interval`, then twice that."""
        past = self._past[performance]
        past.held_interval = min(max(self._retry_interval, 2 * past.held_interval), self._max_interval)
        self._remove(performance)
        self.held_by_others[performance] = self._clock.now() + past.held_interval
        self._notify()

    def claimed(self, performance: Performance) -> None:
        """Try all that others hold again at once if this one was among them: its holder may have died."""
        past = self._past[performance]
        if past.held_interval:
            past.held_interval = 0.0
            self.held_by_others = dict.fromkeys(self.held_by_others, self._clock.now())
            self._notify()

    def pause(self, seconds: float, trouble: str) -> None:
        """Hand out no job for so long; `trouble` says why."""
        self._paused_until = max(self._paused_until, self._clock.monotonic() + seconds)
        self.trouble = trouble

    def stop_admitting(self) -> None:
        """Hand out no further job."""
        self.stopped.set()
        self._notify()

    async def next_job(self, wait_for_turn: Callable[[], Awaitable[None]] = checkpoint) -> Job | None:
        """Return the next job, which is active from now on; None when nothing is left to hand out.

        Once one may start, `wait_for_turn` is awaited, and what starts then is chosen after it. No other task runs
        between its end and the return of the job.
        """
        self._idle += 1
        try:
            while not self.stopping:
                if self._next_performance() is None:
                    if self._nothing_to_come():
                        return None
                    await self._wait_for_change()
                    continue
                async with self._turns:  # one at a time, so that each sees the turns of the others
                    if self._next_performance() is not None:
                        await wait_for_turn()
                    performance = self._next_performance()
                    if performance is not None and not self.stopping:
                        return self._begin(performance)
        finally:
            self._idle -= 1
        return None

    async def wait_until_passed_over(self) -> None:
        """Return once a performance that was begun may start, and no downloader is free: a new job is to give way.

        Its downloader then calls `give_way`, or `keep_place` if it has got its space in the same moment.
        """
        while len(self._begun_to_start()) <= self._giving_way + self._idle:
            changed, now = self._changed, self._clock.now()
            later = [wait.until - now for wait in self.waiting.values() if wait.until > now]
            with anyio.move_on_after(min([*later, _MAX_SLEEP])):
                await changed.wait()
        self._giving_way += 1

    def keep_place(self) -> None:
        """Note that a job that was to give way does not."""
        self._giving_way -= 1

    def give_way(self, performance: Performance) -> None:
        """Take an active performance back as one that was never begun, in plan order."""
        self._past[performance].begun = False
        self._remove(performance)
        in_order = sorted([performance, *self.pending], key=lambda each: self._past[each].position)
        self.pending = dict.fromkeys(in_order)
        self._giving_way -= 1
        self._notify()

    def _begin(self, performance: Performance) -> Job:
        self._remove(performance)
        past = self._past[performance]
        job = Job(performance, fruitless_attempts=past.fruitless_attempts, is_new=not past.begun, clock=self._clock)
        past.begun = True
        self.active[performance] = job
        return job

    def first_due(self) -> float | None:
        """Return when the first waiting performance is due (unix seconds); None if none waits."""
        return min((wait.until for wait in self.waiting.values()), default=None)

    def due_times(self) -> dict[Performance, float]:
        """Return when each performance that has still to be done is expected to go on (unix seconds; 0: unknown).

        An active one is about to, and one that waits for a quota does at the end of its wait, unless it has waited so
        in vain. It may be called from another thread: a copy of a dict is one step of the interpreter.
        """
        waits = self.waiting.copy()
        first = {each: wait.until for each, wait in waits.items() if wait.cause is Cause.FILE_QUOTA}
        first = {each: until for each, until in first.items() if self._past[each].fruitless_attempts < _IN_VAIN}
        active = dict.fromkeys(self.active.copy(), self._clock.now())
        return dict.fromkeys([*self.pending.copy(), *waits], 0.0) | active | first

    def _next_performance(self) -> Performance | None:
        """Return what starts next, by the rule above; None if nothing may start now."""
        if self._paused_until > self._clock.monotonic():
            return None
        begun = [*self._begun_to_start(), *self._held_to_try()]
        if begun:
            return min(begun, key=lambda each: self._past[each].turn)
        return next(iter(self.pending), None)

    def _begun_to_start(self) -> list[Performance]:
        if self._paused_until > self._clock.monotonic():
            return []
        now = self._clock.now()
        return [*self._requeued, *(each for each, wait in self.waiting.items() if is_due(wait.until, now))]

    def _held_to_try(self) -> list[Performance]:
        now = self._clock.now()
        # A moment further away than it can be means that the wall clock was set back.
        latest = now + self._max_interval
        return [each for each, at in self.held_by_others.items() if at <= now or at > latest]

    def _nothing_to_come(self) -> bool:
        if self.pending or self.active or self.held_by_others:
            return False
        return all(not self._wait_for_quota and wait.cause is Cause.FILE_QUOTA for wait in self.waiting.values())

    async def _wait_for_change(self) -> None:
        changed = self._changed
        seconds = max(0.0, self._paused_until - self._clock.monotonic())
        moments = [wait.until for wait in self.waiting.values()] + list(self.held_by_others.values())
        if not self.pending:  # a pending one only waits for the end of a pause
            seconds = max(seconds, min(moments) - self._clock.now()) if moments else _MAX_SLEEP
        with anyio.move_on_after(min(seconds, _MAX_SLEEP)):
            await changed.wait()

    def _remove(self, performance: Performance) -> None:
        job = self.active.get(performance)
        if job is not None:
            self._past[performance].fruitless_attempts = job.fruitless_attempts
        for collection in (self.pending, self.waiting, self.active, self.held_by_others, self.ended):
            collection.pop(performance, None)
        self._requeued.discard(performance)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
