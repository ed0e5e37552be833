"""One brake for all downloads: slow down together, probe one at a time, speed up again.

Theory of operation. Some failures are not one file's but the remote's: a rate limit (Google's are per account,
while every rclone process knows only its own back-off), or no connection at all. After one of these nothing
starts for a while (doubling while they go on), then one download probes; each download that starts well admits
one more at a time, until the full width is back. Each limit begins an era. What was admitted in an earlier one
takes no place and is no good news: a download that has run for an hour makes no new request, and says nothing
about one.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio

from rm360_async.domain.errors import Fault, Scope
from rm360_async.domain.retry import RetryPolicy, throttle_delay
from rm360_async.system.changed import Changed

_LOOK = 60.0


class Throttle:
    """Admit at most `width` downloads, fewer after a limit; `until` (by the clock) is when the next may start."""

    def __init__(
        self,
        width: int,
        rules: RetryPolicy,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.full_width = width
        self.width = width
        self.until = 0.0
        self.reason = ""
        """Why it is slow now; empty at full width."""
        self._rules, self._clock, self._chance = rules, clock, chance
        self._in_a_row = 0
        self._era = 0
        self._running = 0
        self._changed = Changed()

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[Callable[[], None]]:
        """Hold a place while the body runs; the remote's faults in it slow everyone down.

        Gives a function that the body calls when bytes arrive, as often as it likes.
        """
        await self._enter()
        era, told = self._era, False

        def went_well() -> None:
            nonlocal told
            if era == self._era and not told:
                self._widen()
            told = True

        try:
            yield went_well
        except Fault as fault:
            if fault.cause.scope is Scope.REMOTE:
                self.slow_down(f"all downloads slowed down: {fault.cause.code}")
            raise
        finally:
            if era == self._era:
                self._running -= 1
                self._changed.notify()

    def slow_down(self, reason: str) -> None:
        """Pause, twice as long as the last time, and go on one at a time.

        Limits that hit while the pause is on come from requests made before it, and do not prolong it.
        """
        now = self._clock()
        if now >= self.until:
            self.until = now + throttle_delay(self._in_a_row, self._rules, self._chance())
            self._in_a_row += 1
        self.width, self.reason = 1, reason
        self._era, self._running = self._era + 1, 0
        self._changed.notify()

    def _widen(self) -> None:
        self.width = min(self.width + 1, self.full_width)
        if self.width == self.full_width:
            self._in_a_row, self.reason = 0, ""
        self._changed.notify()

    async def _enter(self) -> None:
        # the clock is read once a turn: read twice, a pause that ends between the two would become a long look
        while (rest := self.until - self._clock()) > 0 or self._running >= self.width:
            with anyio.move_on_after(max(0.01, rest) if rest > 0 else _LOOK):
                await self._changed.wait()
        self._running += 1
