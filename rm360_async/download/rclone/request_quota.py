"""How many requests the rclones that serve ranges may make of Drive: 10,000 in any minute.

Google allows a user 12,000; every rclone limits only its own requests, so they are shared out beforehand.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

_BURST, _PER_SECOND, _MINUTE = 4000, 100, 60.0
_MIN_SHARE = 0.01


@dataclass(frozen=True)
class RequestRate:
    """How many requests one server may make at once (`burst`), and after them in a second."""

    burst: int
    per_second: float

    def to_environment(self) -> dict[str, str]:
        """Return the variables that set it in rclone, whose own rate is a burst of 100 and 10 a second."""
        pause = f"{1000 / self.per_second:.0f}ms"
        return {"RCLONE_DRIVE_PACER_MIN_SLEEP": pause, "RCLONE_DRIVE_PACER_BURST": str(self.burst)}


class RequestQuota:
    """The requests that the servers of one remote may make; `sharers` of them run at the same time.

    A new server gets a smaller burst if those before it made many requests in the last minute, and every server gets
    half as much after each limit.
    """

    def __init__(self, sharers: int = 1, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.share = 1 / sharers
        self._clock = clock
        self._recorded: list[tuple[float, int]] = []

    def rate(self) -> RequestRate:
        """Return the rate of the next server."""
        since = self._clock() - _MINUTE
        self._recorded = [(when, requests) for when, requests in self._recorded if when > since]
        left = _BURST - sum(requests for _, requests in self._recorded)
        return RequestRate(max(1, int(left * self.share)), _PER_SECOND * self.share)

    def record(self, requests: int) -> None:
        """Note the requests that a server has made, when it ends."""
        self._recorded.append((self._clock(), requests))

    def slow_down(self) -> None:
        """Halve the rate of all servers from now on, down to a request a second."""
        self.share = max(self.share / 2, _MIN_SHARE)
