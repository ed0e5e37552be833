"""The bandwidth limit of a run, in rclone's words, and the limits of requests: with a clock of the test's own."""

from __future__ import annotations

import time

import anyio
import pytest

from rm360_async.domain.bandwidth import BandwidthLimit
from rm360_async.domain.clock import Clock
from rm360_async.domain.errors import BadRequest
from rm360_async.download.rate_limiter import RateLimiter
from rm360_async.download.request_bucket import RequestBucket

MONDAY = time.mktime((2026, 11, 23, 0, 0, 0, 0, 0, -1))
HOUR, DAY = 3600.0, 86_400.0
MIB = 2**20


class Time:
    """A clock that a pause moves on."""

    def __init__(self, now: float = MONDAY) -> None:
        self.now = now
        self.clock = Clock(lambda: self.now, lambda: self.now)

    async def pause(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("10M", 10.0 * MIB),
        ("512k", 512 * 1024.0),
        ("512", 512 * 1024.0),
        ("100B", 100.0),
        ("1.5G", 1.5 * 2**30),
        ("10Mi", 10.0 * MIB),
        ("1M:10M", 10.0 * MIB),
        ("10M:off", None),
        ("off", None),
        ("0", None),
        ("", None),
    ],
)
def test_a_rate_has_the_meaning_that_rclone_gives_it(text: str, rate: float | None) -> None:
    limit = BandwidthLimit.parse(text)
    assert limit.rate(MONDAY) == rate and bool(limit) is (rate is not None)


def test_a_timetable_holds_every_day_and_begins_with_what_was_last() -> None:
    limit = BandwidthLimit.parse("08:00,2M 19:00,off")
    hours = {hour: limit.rate(MONDAY + 2 * DAY + hour * HOUR) for hour in (0, 7.99, 8, 18.99, 19, 23)}
    assert hours == {0: None, 7.99: None, 8: 2 * MIB, 18.99: 2 * MIB, 19: None, 23: None}
    week = BandwidthLimit.parse("Mon-08:00,512k Fri-19:00,off")
    assert (
        week.rate(MONDAY) is None and week.rate(MONDAY + 3 * DAY) == 512 * 1024 and week.rate(MONDAY + 5 * DAY) is None
    )


@pytest.mark.parametrize("text", ["fast", "10X", "25:00,1M", "08:00,", "Fun-08:00,1M", "-5M", "1M 2M"])
def test_what_rclone_would_not_understand_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="bandwidth"):
        BandwidthLimit.parse(text)


@pytest.mark.anyio
async def test_all_connections_together_keep_to_the_rate() -> None:
    moment = Time()
    limiter = RateLimiter(BandwidthLimit.parse("1M"), moment.clock, moment.pause)
    for _ in range(100):
        await limiter.take(2**18)
    assert 24 < moment.now - MONDAY <= 26 and limiter.is_limiting
    moment.now += 10
    assert not limiter.is_limiting


@pytest.mark.anyio
async def test_an_entry_of_the_timetable_takes_effect_at_its_time() -> None:
    moment = Time(MONDAY + 19 * HOUR - 5)
    limiter = RateLimiter(BandwidthLimit.parse("08:00,1k 19:00,off"), moment.clock, moment.pause)
    await limiter.take(MIB)  # a quarter of an hour at that rate
    assert moment.now == pytest.approx(MONDAY + 19 * HOUR, abs=2)


@pytest.mark.anyio
async def test_no_minute_has_more_requests_than_google_allows() -> None:
    times = await times_of_requests(20_000, instances=1)
    assert times[3999] == MONDAY  # a burst, for the ranges of an index
    assert busiest_minute(times) <= 12_000


@pytest.mark.anyio
async def test_no_minute_has_more_requests_of_instances_that_came_one_after_another() -> None:
    """Each in the seconds after the one before had used its burst."""
    times = await times_of_requests(20_000, instances=1, share_after=10)
    for begins in range(2, 11):
        times += await times_of_requests(2000, instances=10, begins=begins)
    assert busiest_minute(times) <= 12_000


async def times_of_requests(
    number: int, *, instances: int, begins: float = 0, share_after: int | None = None
) -> list[float]:
    """Return when one instance makes requests as fast as it may; `share_after`: with so many others, 2 seconds on."""
    moment, times = Time(MONDAY + begins), list[float]()
    bucket = RequestBucket(moment.clock, moment.pause)
    bucket.share_among(instances)
    for _ in range(number):
        if share_after and moment.now > MONDAY + 2:
            bucket.share_among(share_after)
        await bucket.take()
        times.append(moment.now)
    return times


def busiest_minute(times: list[float]) -> int:
    """Return how many of the times lie in the minute that has most of them."""
    return max(sum(start <= at < start + 60 for at in times) for start in sorted(times)[::500])


def test_a_limit_is_no_wait_without_one() -> None:
    async def take() -> None:
        limiter = RateLimiter(BandwidthLimit())
        with anyio.fail_after(5):
            for _ in range(1000):
                await limiter.take(2**30)
        assert not limiter.is_limiting

    anyio.run(take)
