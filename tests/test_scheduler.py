"""The books of a run balance at every step, and `next` knows when nothing is left."""

from __future__ import annotations

import anyio
import pytest

from rm360_async.domain.errors import Cause
from rm360_async.domain.names import Performance
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import PlannedState
from rm360_async.pipeline.scheduler import Scheduler

pytestmark = pytest.mark.anyio
A, B, C = (Performance("0018", name) for name in ("e0", "e1", "e2"))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def waiting(until: float, cause: Cause = Cause.NETWORK) -> PlannedState:
    return PlannedState(Stage.WAITING, cause, "", until)


async def test_work_is_handed_out_in_order_and_ends() -> None:
    agenda = Scheduler()
    for each in (A, B):
        agenda.put(each, PlannedState(Stage.PENDING))
    agenda.put(C, PlannedState(Stage.COMPLETED))
    assert [await agenda.next(), await agenda.next()] == [A, B]
    assert agenda.in_hand == {A, B} and agenda.planned == 3
    agenda.put(A, PlannedState(Stage.COMPLETED))
    agenda.put(B, PlannedState(Stage.FAILED))
    assert await agenda.next() is None
    assert agenda.ended == {A: Stage.COMPLETED, B: Stage.FAILED, C: Stage.COMPLETED}


async def test_next_waits_for_what_is_in_hand_because_it_may_come_back() -> None:
    agenda = Scheduler()
    agenda.put(A, PlannedState(Stage.PENDING))
    assert await agenda.next() == A
    async with anyio.create_task_group() as tasks:

        async def give_back() -> None:
            await anyio.lowlevel.checkpoint()
            agenda.put(A, PlannedState(Stage.PENDING))

        tasks.start_soon(give_back)
        assert await agenda.next() == A


async def test_the_waiting_are_handed_out_when_due_but_pending_ones_go_first() -> None:
    clock = Clock()
    agenda = Scheduler(now=clock)
    agenda.put(A, waiting(1010))
    agenda.put(B, waiting(1005))
    agenda.put(C, PlannedState(Stage.PENDING))
    assert agenda.first_due() == 1005
    assert await agenda.next() == C
    with anyio.move_on_after(0.01) as scope:
        await agenda.next()
    assert scope.cancelled_caught
    clock.now = 1020
    assert [await agenda.next(), await agenda.next()] == [B, A]


async def test_without_patience_only_quota_waits_end_the_run() -> None:
    agenda = Scheduler(wait_for_quota=False, now=Clock())
    agenda.put(A, waiting(9e3, Cause.FILE_QUOTA))
    assert await agenda.next() is None
    agenda.put(B, waiting(9e3, Cause.NETWORK))
    with anyio.move_on_after(0.01) as scope:
        await agenda.next()
    assert scope.cancelled_caught
    assert agenda.planned == 2


async def test_what_another_instance_has_is_looked_at_again() -> None:
    clock = Clock()
    agenda = Scheduler(now=clock, look=5)
    agenda.put(A, PlannedState(Stage.PENDING))
    assert await agenda.next() == A
    agenda.leave_elsewhere(A)
    assert agenda.elsewhere == {A: 1005} and not agenda.in_hand
    clock.now = 1005
    assert await agenda.next() == A


async def test_a_clock_that_is_set_back_does_not_hide_what_another_instance_had() -> None:
    clock = Clock()
    agenda = Scheduler(now=clock, look=5)
    agenda.put(A, PlannedState(Stage.PENDING))
    assert await agenda.next() == A
    agenda.leave_elsewhere(A)
    clock.now -= 3600
    assert await agenda.next() == A


async def test_a_clock_that_is_set_back_makes_no_wait_longer_than_any() -> None:
    clock = Clock()
    clock.now = 2_000_000_000.0
    agenda = Scheduler(now=clock)
    agenda.put(A, waiting(clock.now + 60))
    clock.now = 1_000_000_000.0
    assert await agenda.next() == A


async def test_draining_hands_out_nothing_more() -> None:
    agenda = Scheduler()
    agenda.put(A, PlannedState(Stage.PENDING))
    agenda.drain()
    assert await agenda.next() is None
    assert agenda.planned == 1
