"""Every performance is in one collection at every step, and `next_job` knows when nothing is left."""

from __future__ import annotations

from dataclasses import dataclass, replace

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation.clock import VirtualLoop, run_virtually

from rm360_async.domain.clock import Clock
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Performance
from rm360_async.domain.retry import RetryPolicy, decide_retry
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import PerformanceRow, PlannedState
from rm360_async.pipeline.job import Job
from rm360_async.pipeline.scheduler import Scheduler

pytestmark = pytest.mark.anyio
A, B, C, D = (Performance("0018", f"e{number}") for number in range(4))


class Time:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def next_of(scheduler: Scheduler) -> Performance | None:
    """Return the performance of the next job."""
    job = await scheduler.next_job()
    return None if job is None else job.performance


def waiting(until: float, cause: Cause = Cause.NETWORK) -> PlannedState:
    return PlannedState(Stage.WAITING, cause, "", until)


async def test_jobs_are_handed_out_in_order_until_none_is_left() -> None:
    scheduler = Scheduler()
    for each in (A, B):
        scheduler.update(each, PlannedState(Stage.PENDING))
    scheduler.update(C, PlannedState(Stage.COMPLETED))
    assert [await next_of(scheduler), await next_of(scheduler)] == [A, B]
    assert set(scheduler.active) == {A, B} and scheduler.planned == 3
    scheduler.update(A, PlannedState(Stage.COMPLETED))
    scheduler.update(B, PlannedState(Stage.FAILED))
    assert await next_of(scheduler) is None
    assert scheduler.ended == {A: Stage.COMPLETED, B: Stage.FAILED, C: Stage.COMPLETED}


async def test_next_job_waits_for_active_ones_because_they_may_come_back() -> None:
    scheduler = Scheduler()
    scheduler.update(A, PlannedState(Stage.PENDING))
    assert await next_of(scheduler) == A
    async with anyio.create_task_group() as tasks:

        async def give_back() -> None:
            await anyio.lowlevel.checkpoint()
            scheduler.update(A, PlannedState(Stage.PENDING))

        tasks.start_soon(give_back)
        assert await next_of(scheduler) == A


async def test_what_is_due_goes_before_what_was_never_begun_in_plan_order() -> None:
    clock = Time()
    scheduler = Scheduler(clock=Clock(now=clock))
    for each in (A, B, C, D):
        scheduler.update(each, PlannedState(Stage.PENDING))
    assert [await next_of(scheduler), await next_of(scheduler)] == [A, B]
    scheduler.update(B, PlannedState(Stage.PENDING))
    scheduler.update(A, waiting(1010))
    assert scheduler.first_due() == 1010
    assert await next_of(scheduler) == B, "it was begun"
    assert await next_of(scheduler) == C, "nothing that was begun may start now"
    scheduler.update(B, waiting(1005))
    clock.now = 1020
    assert [await next_of(scheduler) for _ in range(3)] == [A, B, D]


async def test_what_failed_and_brought_nothing_goes_behind_the_others_that_were_begun() -> None:
    scheduler = Scheduler()
    for each in (A, B, C):
        scheduler.update(each, PlannedState(Stage.PENDING))
    jobs = [await scheduler.next_job(), await scheduler.next_job()]
    assert jobs[0] is not None
    jobs[0].fruitless_attempts = 1
    for each in (A, B):
        scheduler.update(each, PlannedState(Stage.PENDING))
    again = [await scheduler.next_job(), await scheduler.next_job()]
    assert [(job.performance, job.fruitless_attempts) for job in again if job is not None] == [(B, 0), (A, 1)]


async def test_what_an_earlier_run_left_waiting_goes_first_once_it_is_due() -> None:
    clock = Time()
    scheduler = Scheduler(clock=Clock(now=clock))
    scheduler.update(A, PlannedState(Stage.PENDING))
    scheduler.update(B, waiting(1010))
    clock.now = 1010
    assert [await next_of(scheduler), await next_of(scheduler)] == [B, A]


async def test_without_waiting_only_quota_waits_end_the_run() -> None:
    scheduler = Scheduler(wait_for_quota=False, clock=Clock(now=Time()))
    scheduler.update(A, waiting(9e3, Cause.FILE_QUOTA))
    assert await next_of(scheduler) is None
    scheduler.update(B, waiting(9e3, Cause.NETWORK))
    with anyio.move_on_after(0.01) as scope:
        await next_of(scheduler)
    assert scope.cancelled_caught
    assert scheduler.planned == 2


async def test_what_another_instance_holds_is_retried() -> None:
    clock = Time()
    scheduler = Scheduler(clock=Clock(now=clock), retry_interval=5)
    scheduler.update(A, PlannedState(Stage.PENDING))
    assert await next_of(scheduler) == A
    scheduler.retry_later(A)
    assert scheduler.held_by_others == {A: 1005} and not scheduler.active
    clock.now = 1005
    assert await next_of(scheduler) == A


async def test_what_another_instance_holds_is_tried_ever_more_seldom_until_one_is_free() -> None:
    clock = Time()
    scheduler = Scheduler(clock=Clock(now=clock))
    for each in (A, B):
        scheduler.update(each, PlannedState(Stage.PENDING))
    pauses = []
    for _ in range(8):
        for each in (A, B):
            assert await next_of(scheduler) == each
        for each in (A, B):
            scheduler.retry_later(each)
        pauses.append(scheduler.held_by_others[A] - clock.now)
        clock.now = scheduler.held_by_others[A]
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]
    assert await next_of(scheduler) == A
    clock.now -= 30
    scheduler.claimed(A)
    assert await next_of(scheduler) == B, "the other instance may have ended"


async def test_a_clock_that_is_set_back_does_not_hide_what_another_instance_holds() -> None:
    clock = Time()
    scheduler = Scheduler(clock=Clock(now=clock), retry_interval=5)
    scheduler.update(A, PlannedState(Stage.PENDING))
    assert await next_of(scheduler) == A
    scheduler.retry_later(A)
    clock.now -= 3600
    assert await next_of(scheduler) == A


async def test_a_clock_that_is_set_back_makes_no_wait_longer_than_any() -> None:
    clock = Time()
    clock.now = 2_000_000_000.0
    scheduler = Scheduler(clock=Clock(now=clock))
    scheduler.update(A, waiting(clock.now + 60))
    clock.now = 1_000_000_000.0
    assert await next_of(scheduler) == A


async def test_what_a_person_asks_for_starts_before_anything_new() -> None:
    scheduler = Scheduler(clock=Clock(now=Time()))
    scheduler.update(A, PlannedState(Stage.PENDING))
    scheduler.update(B, waiting(9e3, Cause.FILE_QUOTA))
    scheduler.update(C, PlannedState(Stage.DOWNLOAD_FAILED))
    scheduler.update(D, PlannedState(Stage.COMPLETED))
    for each in (B, C, D):
        scheduler.requeue(each)
    assert [await next_of(scheduler) for _ in range(3)] == [B, C, A]
    assert scheduler.ended == {D: Stage.COMPLETED}


async def test_a_stop_hands_out_nothing_more() -> None:
    scheduler = Scheduler()
    scheduler.update(A, PlannedState(Stage.PENDING))
    scheduler.stop_admitting()
    assert await next_of(scheduler) is None
    assert scheduler.planned == 1


# --- properties: nothing due waits behind what was never begun, and none starves

POLICY = RetryPolicy(max_retries=2, retry_delay=30)
ATTEMPT_SECONDS = 20.0
FAILURES = (Cause.UNREACHABLE, Cause.NETWORK, Cause.STALL, Cause.DISK_FULL, Cause.WORKER_DIED)


class CheckedScheduler(Scheduler):
    """A scheduler that is asked at each start whether something due is passed over."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock)
        self.begun: set[Performance] = set()

    def _begin(self, performance: Performance) -> Job:
        now = self._clock.now()
        if performance not in self.begun:
            due = [each for each, wait in self.waiting.items() if wait.until <= now]
            requeued = [each for each in self.pending if each in self.begun]
            assert not due and not requeued, f"{performance} begins, {[*due, *requeued]} could start"
        self.begun.add(performance)
        return super()._begin(performance)


@dataclass
class Run:
    """A run of jobs that fail as `failures` says, the last one without end if `endless`; then they are done."""

    failures: list[list[Cause]]
    endless: set[int]
    width: int

    async def play(self, loop: VirtualLoop) -> set[Performance]:
        """Return what has ended once all but the endless ones have, or after a virtual month."""
        clock = Clock(loop.time, loop.time, lambda: 0.5)
        scheduler = CheckedScheduler(clock)
        plan = [Performance("0018", f"e{number}") for number in range(len(self.failures))]
        self.rows = {each: PerformanceRow(each, Stage.PENDING) for each in plan}
        for each in plan:
            scheduler.update(each, PlannedState(Stage.PENDING))
        finite = {each for number, each in enumerate(plan) if number not in self.endless}
        with anyio.move_on_after(30 * 86_400):
            async with anyio.create_task_group() as tasks:
                for _ in range(self.width):
                    tasks.start_soon(self._work, scheduler, clock)
                while not finite <= scheduler.ended.keys():
                    await anyio.sleep(600)
                tasks.cancel_scope.cancel()
        return finite - scheduler.ended.keys()

    async def _work(self, scheduler: Scheduler, clock: Clock) -> None:
        while (job := await scheduler.next_job()) is not None:
            await anyio.sleep(ATTEMPT_SECONDS)
            scheduler.update(job.performance, self._state_after(job, clock))

    def _state_after(self, job: Job, clock: Clock) -> PlannedState:
        number = int(job.performance.name[1:])
        causes = self.failures[number]
        cause = Cause.UNREACHABLE if number in self.endless else causes.pop(0) if causes else None
        if cause is None:
            return PlannedState(Stage.COMPLETED)
        row = self.rows[job.performance]
        fault, fruitless = Fault(cause, "x"), job.fruitless_attempts
        decision = decide_retry(fault, row, POLICY, clock.now(), clock.chance(), 0, fruitless)
        self.rows[job.performance] = replace(row, tries=row.tries + decision.counts_as_try)
        job.fruitless_attempts += 1
        return PlannedState(decision.stage, cause, "", decision.wait_until)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(FAILURES), max_size=6), min_size=2, max_size=12),
    st.sets(st.integers(0, 11), max_size=6),
    st.integers(1, 3),
)
def test_nothing_due_is_passed_over_and_none_starves_whatever_fails_how_often(
    failures: list[list[Cause]], endless: set[int], width: int
) -> None:
    assert run_virtually(Run(failures, endless, width).play, lambda: None) == set()
