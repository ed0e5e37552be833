"""What is the remote's slows every download down together, and good news speeds them up again."""

from __future__ import annotations

from contextlib import AsyncExitStack

import anyio
import pytest

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.retry import MAX_THROTTLE_SECONDS, RetryPolicy
from rm360_async.download.throttle import Throttle

pytestmark = pytest.mark.anyio


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def made(width: int, delay: float = 30.0) -> tuple[Throttle, Clock]:
    clock = Clock()
    return Throttle(width, RetryPolicy(retry_delay=delay), clock=clock, chance=lambda: 0.5), clock


async def refused(throttle: Throttle, cause: Cause = Cause.RATE_LIMIT) -> None:
    with pytest.raises(Fault):
        async with throttle.admitted():
            raise Fault(cause, "no")


async def admits(throttle: Throttle, stack: AsyncExitStack) -> bool:
    """Enter once more if that is possible at once."""
    with anyio.move_on_after(0.05):
        await stack.enter_async_context(throttle.admitted())
        return True
    return False


@pytest.mark.parametrize("cause", [Cause.RATE_LIMIT, Cause.UNREACHABLE])
async def test_it_pauses_then_probes_one_at_a_time_then_widens(cause: Cause) -> None:
    throttle, clock = made(3)
    async with AsyncExitStack() as stack:
        await refused(throttle, cause)
        assert throttle.until == 30 and cause.code in throttle.reason
        assert not await admits(throttle, stack), "nothing starts during the pause"
        clock.now = throttle.until
        async with throttle.admitted() as went_well:
            assert not await admits(throttle, stack), "one probe"
            for _ in range(5):
                went_well()
            assert throttle.width == 2, "one more, however often bytes arrive"
            assert await admits(throttle, stack)
            assert not await admits(throttle, stack)


async def test_what_ran_before_the_limit_takes_no_place_and_is_no_good_news() -> None:
    throttle, clock = made(2)
    async with AsyncExitStack() as stack:
        async with throttle.admitted() as went_well:
            await refused(throttle)
            clock.now = throttle.until
            went_well()
            assert throttle.width == 1
            assert await admits(throttle, stack), "the probe does not wait for a download of hours"
        assert not await admits(throttle, stack), "and its end makes no room for a second probe"


async def test_the_pause_doubles_while_limits_go_on_up_to_ten_minutes_and_starts_anew_at_full_width() -> None:
    throttle, clock = made(2)
    pauses = []
    for _ in range(6):
        await refused(throttle)
        throttle.slow_down("another one that was made before the pause")
        pauses.append(throttle.until - clock.now)
        clock.now = throttle.until
    assert pauses == [30, 60, 120, 240, 480, MAX_THROTTLE_SECONDS]
    async with throttle.admitted() as went_well:
        went_well()
    assert (throttle.width, throttle.reason) == (2, "")
    await refused(throttle)
    assert throttle.until - clock.now == 30


async def test_a_pause_that_ends_while_it_is_looked_at_ends() -> None:
    class Creeping(Clock):
        def __call__(self) -> float:
            self.now += 0.004
            return self.now

    clock = Creeping()
    throttle = Throttle(1, RetryPolicy(retry_delay=0), clock=clock, chance=lambda: 0.5)
    throttle.until = 0.006  # after the first reading of the clock, before the second
    with anyio.move_on_after(20):
        async with throttle.admitted():
            return
    pytest.fail("it went on waiting after the pause had ended")


async def test_no_delay_is_still_a_little_one() -> None:
    throttle, _ = made(2, delay=0.0)
    await refused(throttle)
    assert throttle.until == 0.25


async def test_another_fault_slows_nobody() -> None:
    throttle, _ = made(3)
    await refused(throttle, Cause.NETWORK)
    assert (throttle.width, throttle.until) == (3, 0.0)
