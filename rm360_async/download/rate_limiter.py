"""Hold the bandwidth limit of a run: one for all of its connections together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from rm360_async.domain.bandwidth import BandwidthLimit
from rm360_async.domain.clock import SYSTEM_CLOCK, Clock

_BURST_SECONDS = 0.2
"""Bytes that may come at once, by the time in which the limit allows them."""
_MIN_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 0.001, 1.0
"""After the longest pause the timetable is read again: a higher rate takes effect at its time, whatever the lower one
had agreed."""


class RateLimiter:
    """Delays the readers of all connections so that together they keep to the limit.

    `is_limiting`: bytes had to wait lately, so the limit is what bounds the downloads.
    """

    def __init__(
        self,
        limit: BandwidthLimit,
        clock: Clock = SYSTEM_CLOCK,
        pause: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._limit, self._clock, self._pause = limit, clock, pause
        self.share = 1.0
        """Of the limit: several nodes divide it."""
        self._tokens, self._refilled = 0.0, clock.monotonic()
        self._limited_at = float("-inf")

    @property
    def is_limiting(self) -> bool:
        """Return True if bytes have waited for the limit in the last seconds."""
        return self._clock.monotonic() - self._limited_at < 2.0

    @property
    def has_limit(self) -> bool:
        """Return True if there is a limit at any time of the day: bytes are then to be taken as they come."""
        return bool(self._limit)

    async def take(self, size: int) -> None:
        """Return when `size` bytes that have arrived may count; the connection is not read until then."""
        if not self._limit:
            return
        self._refill()
        self._tokens -= size
        while self._tokens < 0:
            rate = self._refill()
            if rate is None:
                break
            if self._tokens < 0:
                self._limited_at = self._clock.monotonic()
                await self._pause(min(max(-self._tokens / rate, _MIN_PAUSE_SECONDS), _MAX_PAUSE_SECONDS))

    def _refill(self) -> float | None:
        """Add what the time since the last call allows; return the rate of now."""
        whole, now = self._limit.rate(self._clock.now()), self._clock.monotonic()
        rate = None if whole is None else whole * self.share
        seconds, self._refilled = now - self._refilled, now
        if rate is None:
            self._tokens = 0.0
        else:
            self._tokens = min(rate * _BURST_SECONDS, self._tokens + seconds * rate)
        return rate
