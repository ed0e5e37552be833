"""Every performance is in one collection at every step, and `next_job` knows when nothing is left."""

from __future__ import annotations

import anyio
import pytest

from rm360_async.domain.clock import Clock
from rm360_async.domain.errors import Cause
from rm360_async.domain.names import Performance
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import PlannedState
from rm360_async.pipeline.scheduler import Scheduler

pytestmark = pytest.mark.anyio
A, B, C = (Performance("0018", name) for name in ("e0", "e1", "e2"))


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


async def test_the_waiting_are_handed_out_when_due_but_pending_ones_go_first() -> None:
    clock = Time()
    scheduler = Scheduler(clock=Clock(now=clock))
    scheduler.update(A, waiting(1010))
    scheduler.update(B, waiting(1005))
    scheduler.update(C, PlannedState(Stage.PENDING))
    assert scheduler.first_due() == 1005
    assert await next_of(scheduler) == C
    with anyio.move_on_after(0.01) as scope:
        await next_of(scheduler)
    assert scope.cancelled_caught
    clock.now = 1020
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


async def test_a_stop_hands_out_nothing_more() -> None:
    scheduler = Scheduler()
    scheduler.update(A, PlannedState(Stage.PENDING))
    scheduler.stop_admitting()
    assert await next_of(scheduler) is None
    assert scheduler.planned == 1
