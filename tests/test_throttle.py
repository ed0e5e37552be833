"""A rate limit slows every download down together, and good news speeds them up again."""

from __future__ import annotations

import anyio
import pytest

from rm360_async.errors import Cause, Fault
from rm360_async.throttle import Throttle

pytestmark = pytest.mark.anyio


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_rate_limit_pauses_then_probes_one_at_a_time() -> None:
    clock = Clock()
    throttle = Throttle(4, clock=clock)
    with pytest.raises(Fault):
        async with throttle.admitted():
            raise Fault(Cause.RATE_LIMIT, "slow down")
    assert throttle.width == 1
    with anyio.move_on_after(0.05) as waited:
        async with throttle.admitted():
            pytest.fail("admitted during the pause")
    assert waited.cancelled_caught
    clock.now = throttle.until
    async with throttle.admitted():
        with anyio.move_on_after(0.05) as second:
            async with throttle.admitted():
                pytest.fail("two probes at once")
        assert second.cancelled_caught
        throttle.went_well()
        async with throttle.admitted():
            assert throttle.width == 2


async def test_the_pause_doubles_once_per_pause_and_ends_with_full_width() -> None:
    clock = Clock()
    throttle = Throttle(2, clock=clock)
    throttle.slow_down()
    first = throttle.pause
    throttle.slow_down()
    assert throttle.pause == first
    clock.now = throttle.until
    throttle.slow_down()
    assert throttle.pause == 2 * first
    throttle.went_well()
    throttle.went_well()
    assert (throttle.width, throttle.pause) == (2, 0.0)


async def test_another_fault_slows_nobody() -> None:
    throttle = Throttle(3)
    with pytest.raises(Fault):
        async with throttle.admitted():
            raise Fault(Cause.NETWORK, "reset")
    assert throttle.width == 3
