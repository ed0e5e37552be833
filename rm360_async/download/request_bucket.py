"""How many requests a run may make of an account: Google allows a user 12,000 in any minute, all programs together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from rm360_async.domain.clock import SYSTEM_CLOCK, Clock

_MIN_PAUSE_SECONDS = 0.001
_BURST, _PER_SECOND = 4000.0, 100.0
"""Together 10,000 in the busiest minute; the rest is for listings and lookups."""


class RequestBucket:
    """Delays requests so that all instances together keep to the account's limit; each has an equal share of it."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK, pause: Callable[[float], Awaitable[None]] = anyio.sleep) -> None:
        self._share: float | None = None
        """None until it is known how many instances there are."""
        self._clock, self._pause = clock, pause
        self._tokens, self._refilled = _BURST, clock.monotonic()

    def share_among(self, instances: int) -> None:
        """Keep to an equal share; an instance that comes to others gets no burst, since they may have used it."""
        self._refill()
        if self._share is None and instances > 1:
            self._tokens = min(self._tokens, 0.0)
        self._share = 1 / max(1, instances)

    async def take(self, requests: int = 1) -> None:
        """Return when so many requests may be made."""
        self._refill()
        self._tokens -= requests
        while self._tokens < 0:
            await self._pause(max(_MIN_PAUSE_SECONDS, -self._tokens / self._rate))
            self._refill()

    @property
    def _rate(self) -> float:
        return _PER_SECOND * (self._share or 1.0)

    def _refill(self) -> None:
        now = self._clock.monotonic()
        seconds, self._refilled = now - self._refilled, now
        self._tokens = min(_BURST * (self._share or 1.0), self._tokens + seconds * self._rate)
