"""One brake for all downloads: slow down together on a rate limit, probe one at a time, speed up again.

Google's limits are per account, while every rclone process knows only its own back-off. So the back-off is
kept here: after a rate limit nothing starts for a while (doubling), then one download probes; each download
that starts well admits one more at a time, until the full width is back.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio

from rm360_async.errors import Cause, Fault

_FIRST_PAUSE = 5.0
_LONGEST_PAUSE = 600.0


class Throttle:
    """Admit at most `width` downloads, fewer after a rate limit; `until` is when the next may start."""

    def __init__(self, width: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.full_width = width
        self.width = width
        self.pause = 0.0
        self.until = 0.0
        self._clock = clock
        self._running = 0
        self._changed = anyio.Event()

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[None]:
        """Hold a place while the body runs; the body's RATE_LIMIT fault slows everyone down."""
        await self._enter()
        try:
            yield
        except Fault as fault:
            if fault.cause is Cause.RATE_LIMIT:
                self.slow_down()
            raise
        finally:
            self._running -= 1
            self._wake()

    def slow_down(self) -> None:
        """Answer a rate limit: pause (doubling) and go on one at a time.

        Limits that hit while the pause is on come from requests made before it, and do not double it.
        """
        now = self._clock()
        if now >= self.until:
            self.pause = min(max(_FIRST_PAUSE, 2 * self.pause), _LONGEST_PAUSE)
            self.until = now + self.pause
        self.width = 1

    def went_well(self) -> None:
        """Answer bytes that arrive: one more at a time, and no pause once the full width is back."""
        if self.width < self.full_width:
            self.width += 1
            self._wake()
        else:
            self.pause = 0.0

    async def _enter(self) -> None:
        while self._running >= self.width or self._clock() < self.until:
            changed = self._changed
            with anyio.move_on_after(max(0.01, min(self.until - self._clock(), 60.0)) if self._resting() else 60.0):
                await changed.wait()
        self._running += 1

    def _resting(self) -> bool:
        return self._clock() < self.until

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
