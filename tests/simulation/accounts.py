"""The accounts of the simulated remotes: what Google refuses, for how long, and what each was asked for."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from random import Random

from rm360_async.domain.errors import Cause, Fault

DAY = 86_400.0
TB = 10**12
_RATE_WINDOW = 100.0
_QUOTA = DAY
"""Seconds for which a file whose quota is used up is refused (an outside fact of Google Drive)."""


@dataclass
class Refusals:
    """How often an account refuses, as shares of requests, and how much it gives."""

    server_error: float = 0.004
    quota: float = 0.01
    """Of the files; other people download them too."""
    forbidden: float = 0.0
    requests: int = 120
    """Requests in 100 seconds that are answered; more are refused."""
    daily_bytes: int = 10 * TB


@dataclass
class Account:
    """One account. Moments are seconds of the loop."""

    name: str
    refusals: Refusals
    seed: str
    stormy_until: float = 0.0
    """Until then every request is refused for its rate, for no reason that anyone here could know."""
    locked_out_until: float = 0.0
    """Until then the login is refused (401), which passes by itself."""
    requests: deque[float] = field(default_factory=deque)
    refused: deque[float] = field(default_factory=deque)
    """When requests were refused for their rate, of the last minutes."""
    quota_until: dict[str, float] = field(default_factory=dict)
    bytes_by_hour: dict[int, int] = field(default_factory=dict)
    calm: bool = False
    """True once all faults are over: nothing is refused any more by chance."""

    def answer(self, path: str, now: float, dice: Random) -> None:
        """Answer a request about a file, or the folder (""); raises the Fault that the service would see."""
        if now < self.locked_out_until:
            raise Fault(Cause.AUTH, f"{self.name} refuses the login (401)")
        while self.requests and self.requests[0] < now - _RATE_WINDOW:
            self.requests.popleft()
        self.requests.append(now)
        if now < self.stormy_until or len(self.requests) > self.refusals.requests:
            self.refused.append(now)
            raise Fault(Cause.RATE_LIMIT, f"{self.name} refuses so many requests (403)")
        if not self.calm and dice.random() < self.refusals.server_error:
            raise Fault(Cause.SERVER_ERROR, f"{self.name} has an internal error (500)")

    def permit(self, path: str, now: float) -> None:
        """Permit a download of a file; raises Fault FILE_QUOTA or FORBIDDEN."""
        lot = Random(f"{self.seed} {self.name} {path}").random()
        if lot < self.refusals.forbidden:
            raise Fault(Cause.FORBIDDEN, f"{self.name} may not have {path}")
        if lot > 1 - self.refusals.quota and not self.calm:
            self.quota_until.setdefault(path, now + _QUOTA)
        spent = sum(size for hour, size in self.bytes_by_hour.items() if hour > (now - DAY) / 3600)
        if now < self.quota_until.get(path, 0.0) or spent > self.refusals.daily_bytes:
            raise Fault(Cause.FILE_QUOTA, f"the quota of {path} on {self.name} is used up")

    def count(self, size: int, now: float) -> None:
        """Count bytes that the account has given."""
        hour = int(now / 3600)
        self.bytes_by_hour[hour] = self.bytes_by_hour.get(hour, 0) + size
