"""A limit of the remote slows all downloads down together, and successes speed them up again."""

from __future__ import annotations

from contextlib import AsyncExitStack

import anyio
import pytest

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.retry import MAX_THROTTLE_SECONDS, RetryPolicy
from rm360_async.download.throttle import MAX_PROBE_SECONDS, Throttle

pytestmark = pytest.mark.anyio


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def throttle_and_clock(width: int, delay: float = 30.0) -> tuple[Throttle, Clock]:
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
    throttle, clock = throttle_and_clock(3)
    async with AsyncExitStack() as stack:
        await refused(throttle, cause)
        assert throttle.until == 30 and cause.code in throttle.reason
        assert not await admits(throttle, stack), "nothing starts during the pause"
        clock.now = throttle.until
        async with throttle.admitted() as report_success:
            assert not await admits(throttle, stack), "one probe"
            for _ in range(5):
                report_success()
            assert throttle.width == 2, "one more, however often bytes arrive"
            assert await admits(throttle, stack)
            assert not await admits(throttle, stack)


async def test_a_download_from_before_the_limit_takes_no_slot_and_proves_nothing() -> None:
    throttle, clock = throttle_and_clock(2)
    async with AsyncExitStack() as stack:
        async with throttle.admitted() as report_success:
            await refused(throttle)
            clock.now = throttle.until
            report_success()
            assert throttle.width == 1
            assert await admits(throttle, stack), "the probe does not wait for a download of hours"
        assert not await admits(throttle, stack), "and its end frees no slot for a second probe"


async def test_the_pause_doubles_with_each_limit_up_to_ten_minutes_and_starts_over_at_full_width() -> None:
    throttle, clock = throttle_and_clock(2)
    pauses = []
    for _ in range(6):
        await refused(throttle)
        throttle.slow_down("another one that was made before the pause")
        pauses.append(throttle.until - clock.now)
        clock.now = throttle.until
    assert pauses == [30, 60, 120, 240, 480, MAX_THROTTLE_SECONDS]
    async with throttle.admitted() as report_success:
        report_success()
    assert (throttle.width, throttle.reason) == (2, "")
    await refused(throttle)
    assert throttle.until - clock.now == 30


async def test_a_pause_may_end_between_two_readings_of_the_clock() -> None:
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
    pytest.fail("it waited on after the pause had ended")


async def test_a_pause_is_never_zero() -> None:
    throttle, _ = throttle_and_clock(2, delay=0.0)
    await refused(throttle)
    assert throttle.until == 0.25


async def test_another_fault_slows_no_download() -> None:
    throttle, _ = throttle_and_clock(3)
    await refused(throttle, Cause.NETWORK)
    assert (throttle.width, throttle.until) == (3, 0.0)


async def test_a_hold_ends_when_the_other_node_succeeds_or_has_had_its_time() -> None:
    """A node that met no limit itself is held while another probes: it neither probes nor widens by itself."""
    throttle, clock = throttle_and_clock(3)
    reported: list[str] = []
    throttle.on_limit = lambda seconds, reason: reported.append("limit")
    throttle.on_success = lambda: reported.append("success")
    async with AsyncExitStack() as stack:
        throttle.hold(10, "rate limit")
        clock.now = 11
        assert not await admits(throttle, stack), "its pause is over, and the other one probes"
        throttle.resume()
        assert await admits(throttle, stack) and not await admits(throttle, stack), "one at a time"
        throttle.hold(10, "rate limit")
        clock.now += 10 + MAX_PROBE_SECONDS
        assert await admits(throttle, stack), "the other one has nothing left to probe with"
    assert reported == []


async def test_what_a_node_meets_itself_is_reported_until_a_download_starts_well() -> None:
    throttle, clock = throttle_and_clock(1)
    reported: list[object] = []
    throttle.on_limit = lambda seconds, reason: reported.append(seconds)
    throttle.on_success = lambda: reported.append("success")
    await refused(throttle)
    clock.now = throttle.until
    for _ in range(2):
        async with throttle.admitted() as on_success:
            on_success()
    assert reported == [30.0, "success"]


async def test_a_node_that_probes_in_the_place_of_another_reports_its_success() -> None:
    throttle, clock = throttle_and_clock(3)
    reported: list[str] = []
    throttle.on_success = lambda: reported.append("success")
    throttle.hold(20, "another node probes")
    throttle.probe(10, "another node probed")
    async with AsyncExitStack() as stack:
        assert not await admits(throttle, stack), "what is left of the pause"
        clock.now = 20
        async with throttle.admitted() as report_success:
            assert not await admits(throttle, stack), "one probe"
            report_success()
        assert reported == ["success"] and throttle.width == 2
