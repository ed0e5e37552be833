"""Tell a download that stands still from a slow one.

Theory of operation. Progress is judged in ticks, not by the clock: when the service itself is stopped
(SIGSTOP, a suspended machine) no tick passes and nothing is accused. Silence for `silent_ticks` is a stall.
So is a trickle: a rate below a twentieth of the transfer's own median for `TRICKLE_TICKS` ticks, which no
idle timeout ever sees. The median is that of the transfer before the trickle, so a link that was always
slow is never accused.
"""

from __future__ import annotations

from statistics import median

TRICKLE_TICKS = 300
_TRICKLE_SHARE = 20
_BLOCK = 10  # ticks per remembered rate: 20 hours of ticks are 7,200 numbers


class StallWatch:
    """Watch one transfer's size, tick by tick."""

    def __init__(self, size: int, silent_ticks: int, trickle_ticks: int = TRICKLE_TICKS) -> None:
        self._size, self._block_start = size, size
        self._silent_ticks, self._trickle_blocks = silent_ticks, max(1, trickle_ticks // _BLOCK)
        self._idle, self._ticks = 0, 0
        self._blocks: list[int] = []

    def tick(self, size: int) -> str:
        """Take the size in bytes at this tick; return why the transfer counts as stalled, or ''."""
        self._idle = 0 if size > self._size else self._idle + 1
        self._size = size
        if self._idle >= self._silent_ticks:
            return f"no byte arrived for {self._idle} ticks"
        self._ticks += 1
        if self._ticks % _BLOCK:
            return ""
        self._blocks.append(size - self._block_start)
        self._block_start = size
        return self._trickle()

    def _trickle(self) -> str:
        recent, earlier = self._blocks[-self._trickle_blocks :], self._blocks[: -self._trickle_blocks]
        if len(recent) < self._trickle_blocks or not earlier:
            return ""
        usual = median(earlier)
        if max(recent) * _TRICKLE_SHARE >= usual:
            return ""
        return f"it fell below a twentieth of its rate for {self._trickle_blocks * _BLOCK} ticks"
