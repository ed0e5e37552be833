"""Why and how a node is to leave: a signal, a request of its run, or nothing to do for too long."""

from __future__ import annotations

import anyio

from rm360_async.domain.clock import SYSTEM_CLOCK, Clock

_CHECK_SECONDS = 5.0


class Leaving:
    """Set once the node is to leave; `is_urgent` after a signal: what takes long is broken off."""

    def __init__(self, idle_minutes: float | None, clock: Clock = SYSTEM_CLOCK) -> None:
        self._idle_seconds = None if idle_minutes is None else idle_minutes * 60
        self._clock, self._used_at = clock, clock.monotonic()
        self._event = anyio.Event()
        self.reason, self.is_urgent, self.exit_code = "", False, 0
        self.has_session = False
        """True while the node works for a run: that ends in order."""

    @property
    def is_set(self) -> bool:
        """Return True if the node is to leave, also because it was idle for too long."""
        if self._idle_seconds is not None and self._clock.monotonic() - self._used_at >= self._idle_seconds:
            self.leave(f"idle for {self._idle_seconds / 60:g} minutes", urgent=False)
        return self._event.is_set()

    @property
    def idle_check_seconds(self) -> float:
        """Return after how long to look again."""
        return _CHECK_SECONDS if self._idle_seconds is None else min(_CHECK_SECONDS, max(0.1, self._idle_seconds / 10))

    def note_use(self) -> None:
        """Note that the node has something to do."""
        self._used_at = self._clock.monotonic()

    def leave(self, reason: str, *, urgent: bool, exit_code: int = 0) -> None:
        """Ask for it; a signal makes it urgent."""
        self.reason = self.reason or reason
        self.is_urgent, self.exit_code = self.is_urgent or urgent, exit_code or self.exit_code
        self._event.set()

    async def wait(self) -> None:
        """Return once it was asked for."""
        await self._event.wait()
