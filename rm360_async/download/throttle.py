"""One throttle for all downloads: slow down together, probe one at a time, speed up again.

Theory of operation. Some failures concern not one file but the remote: a rate limit (Google's are per account, while
every rclone process knows only its own back-off), or no connection at all. After such a failure no download starts for
a while (twice as long after each further one), then one download probes; each download that starts well admits one
more at a time, until the full width is reached again. Each limit begins an era. A download that was admitted in an
earlier era takes no slot and proves nothing: one that has run for an hour makes no new request.
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

MAX_PROBE_SECONDS = 30.0
"""For so long after its pause another node may probe; after a longer pause, for as long as that."""
_MIN_WAIT_SECONDS, _MAX_WAIT_SECONDS = 0.01, 60.0


def held_seconds(pause: float) -> float:
    """Return for how long nodes are held of which another one pauses for so many seconds, and then probes."""
    return pause + max(pause, MAX_PROBE_SECONDS)


class Throttle:
    """Admits at most `width` downloads, fewer after a limit; `until` (by the clock) is when the next one may start."""

    def __init__(
        self,
        width: int,
        policy: RetryPolicy,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.full_width = width
        self.width = width
        self.until = 0.0
        self.reason = ""
        """Why downloads are slowed down now; empty at full width."""
        self._held_until = 0.0
        """Another node probes for this one until then."""
        self._is_limited = False
        """True from a limit until a download has started well."""
        self.on_limit: Callable[[float, str], None] = lambda seconds, reason: None
        """Gets the pause that begins here, and why."""
        self.on_success: Callable[[], None] = lambda: None
        """Called when a download has started well after a limit."""
        self._policy, self._clock, self._chance = policy, clock, chance
        self._limits_in_a_row = 0
        self._era = 0
        self._running = 0
        self._changed = Changed()

    @property
    def is_slowed_down(self) -> bool:
        """Return True from a limit until the full width is reached again."""
        return self.width < self.full_width

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[Callable[[], None]]:
        """Hold a slot while the block runs; a fault of the remote in it slows all downloads down.

        Gives a function to call when bytes arrive, any number of times.
        """
        await self._enter()
        era, reported = self._era, False

        def report_success() -> None:
            nonlocal reported
            if era == self._era and not reported:
                self._widen()
            reported = True

        try:
            yield report_success
        except Fault as fault:
            if fault.cause.scope is Scope.REMOTE:
                self.slow_down(f"all downloads are slowed down: {fault.cause.code}")
            raise
        finally:
            if era == self._era:
                self._running -= 1
                self._changed.notify()

    def slow_down(self, reason: str) -> None:
        """Pause, twice as long as the last time, and then admit one download at a time.

        Limits that are met during the pause come from requests made before it, and do not prolong it.
        """
        now = self._clock()
        if now >= self.until:
            self.until = now + throttle_delay(self._limits_in_a_row, self._policy, self._chance())
            self._limits_in_a_row += 1
            self._is_limited = True
            self.on_limit(self.until - now, reason)
        self._begin_era(reason)

    def hold(self, seconds: float, reason: str) -> None:
        """Admit nothing until `resume`, and not before so many seconds: another node has met a limit, and probes.

        Without `resume` this node probes itself some time later: the other one may have nothing left to download.
        """
        now = self._clock()
        self.until = max(self.until, now + seconds)
        self._held_until = now + held_seconds(seconds)
        self._begin_era(reason)

    def probe(self, seconds: float, reason: str) -> None:
        """Probe after so many seconds, and report its success: the node that did so for all is gone."""
        self.until = max(self.until, self._clock() + seconds)
        self._held_until, self._is_limited = 0.0, True
        self._begin_era(reason)

    def resume(self) -> None:
        """Admit one download at a time again, after the pause: another node's probe has succeeded."""
        self._held_until = 0.0
        self._changed.notify()

    def _begin_era(self, reason: str) -> None:
        self.width, self.reason = 1, reason
        self._era, self._running = self._era + 1, 0
        self._changed.notify()

    def _widen(self) -> None:
        if self._is_limited:
            self._is_limited = False
            self.on_success()
        self.width = min(self.width + 1, self.full_width)
        if self.width == self.full_width:
            self._limits_in_a_row, self.reason = 0, ""
        self._changed.notify()

    async def _enter(self) -> None:
        # the clock is read once a turn: read twice, a pause that ends between the two would become a long wait
        while (pause := max(self.until, self._held_until) - self._clock()) > 0 or self._running >= self.width:
            with anyio.move_on_after(max(_MIN_WAIT_SECONDS, pause) if pause > 0 else _MAX_WAIT_SECONDS):
                await self._changed.wait()
        self._running += 1
