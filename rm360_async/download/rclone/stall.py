"""Tell a download that has stalled from a slow one.

Theory of operation. Progress is checked in ticks, not by the clock: when the service itself is stopped (SIGSTOP, a
suspended machine) no tick passes and no transfer is ended. Silence for `silent_ticks` is a stall. So is a trickle: a
rate below a twentieth of the transfer's own median for `trickle_ticks`, which no idle timeout ever notices. The median
is that of the transfer before the trickle, so a link that was always slow is never ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

_TRICKLE_SHARE = 20
_BLOCK_TICKS = 10
"""Ticks for each rate that is kept: 20 hours of seconds are 7,200 rates."""


@dataclass(frozen=True)
class StallPolicy:
    """How often a transfer is checked (seconds), and after how many checks it counts as stalled."""

    tick_seconds: float = 1.0
    silent_ticks: int = 90
    trickle_ticks: int = 300


class StallWatch:
    """Watches the size of one transfer, tick by tick."""

    def __init__(self, size: int, policy: StallPolicy) -> None:
        self._policy = policy
        self._size, self._block_start = size, size
        self._idle_ticks, self._ticks = 0, 0
        self._blocks: list[int] = []

    def tick(self, size: int) -> str:
        """Take the size in bytes at this tick; return why the transfer counts as stalled, or ''."""
        self._idle_ticks = 0 if size > self._size else self._idle_ticks + 1
        self._size = size
        if self._idle_ticks >= self._policy.silent_ticks:
            return f"no byte arrived for {self._seconds(self._idle_ticks)}"
        self._ticks += 1
        if self._ticks % _BLOCK_TICKS:
            return ""
        self._blocks.append(size - self._block_start)
        self._block_start = size
        return self._trickle()

    def _trickle(self) -> str:
        count = max(1, self._policy.trickle_ticks // _BLOCK_TICKS)
        recent, earlier = self._blocks[-count:], self._blocks[:-count]
        if len(recent) < count or not earlier or max(recent) * _TRICKLE_SHARE >= median(earlier):
            return ""
        return f"the rate fell below a twentieth of its median for {self._seconds(count * _BLOCK_TICKS)}"

    def _seconds(self, ticks: int) -> str:
        return f"{ticks * self._policy.tick_seconds:.3g} s"
