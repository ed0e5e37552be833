"""The limits of an account, which hold for all nodes: what one node meets, all observe, and one of them probes.

The node that met a limit pauses and probes as on one machine (`download.throttle`). All others request nothing of that
account until it reports that a download has started well, meets the limit again (their pause is then as long as its
own), or is lost or leaves: then one of them probes in its place. A node that has had the time for its probe, and may
have nothing left to download, probes no more: from then on any node may, and the first that meets a limit is the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from rm360_async.cluster.members import Member
from rm360_async.cluster.values import Values
from rm360_async.domain.clock import SYSTEM_CLOCK, Clock
from rm360_async.download.accounts import Accounts
from rm360_async.download.throttle import held_seconds

Send = Callable[[Values], None]
_NOBODY = ""


@dataclass(frozen=True)
class _Probe:
    """Who probes for an account, and when; times in seconds of the monotonic clock."""

    address: str
    """Of the node; `_NOBODY` while there is none that could."""
    paused_until: float
    until: float
    """The others wait for its success until then."""
    reason: str


class SharedLimits:
    """The coordinator's part: who probes for which account, and until when."""

    def __init__(self, send: Callable[[str, Values], None], clock: Clock = SYSTEM_CLOCK) -> None:
        self._send, self._clock = send, clock
        self._probes: dict[str, _Probe] = {}

    def take(self, address: str, message: Values, members: Mapping[str, Member]) -> None:
        """Take the message of a node that met a limit, or whose probe succeeded."""
        account = message["account"]
        probe = self._current(account)
        if message["kind"] == "limit" and (probe is None or probe.address in (address, _NOBODY)):
            self._begin(account, address, message["seconds"], message["reason"])
            self._hold_others(account, members)
        elif message["kind"] == "limit" and probe is not None:  # of a request that was made before
            self._hold(address, account, probe)
        elif probe is not None and probe.address == address:
            del self._probes[account]
            for other in _others(address, members):
                self._send(other, {"kind": "resume", "account": account})

    def removed(self, address: str, members: Mapping[str, Member]) -> None:
        """Have another node probe in the place of one that is gone, or leaves."""
        for account in [account for account, probe in self._probes.items() if probe.address == address]:
            probe = self._current(account)
            if probe is not None:
                others = [member for each, member in members.items() if each != address and not member.leaves]
                heir = max(others, key=lambda member: len(member.downloading), default=None)
                self._probes[account] = replace(probe, address=_NOBODY)
                if heir is not None:
                    self._appoint(account, heir.address)
                    self._hold_others(account, members)

    def added(self, address: str) -> None:
        """Hold a new node, too, for the rest of the time in which another one probes."""
        for account in list(self._probes):
            probe = self._current(account)
            if probe is not None and probe.address == _NOBODY:
                self._appoint(account, address)
            elif probe is not None:
                self._hold(address, account, probe)

    def _current(self, account: str) -> _Probe | None:
        """Return the probe that the others of an account wait for."""
        probe = self._probes.get(account)
        if probe is not None and probe.until <= self._clock.monotonic():
            del self._probes[account]
            return None
        return probe

    def _begin(self, account: str, address: str, seconds: float, reason: str) -> None:
        now = self._clock.monotonic()
        self._probes[account] = _Probe(address, now + seconds, now + held_seconds(seconds), reason)

    def _appoint(self, account: str, address: str) -> None:
        """Have a node probe once what is left of the pause is over."""
        probe, left = self._probes[account], self._left(self._probes[account])
        self._begin(account, address, left, probe.reason)
        self._send(address, {"kind": "probe", "account": account, "seconds": left, "reason": probe.reason})

    def _hold_others(self, account: str, members: Mapping[str, Member]) -> None:
        probe = self._probes[account]
        for other in _others(probe.address, members):
            self._hold(other, account, probe)

    def _hold(self, address: str, account: str, probe: _Probe) -> None:
        self._send(address, {"kind": "hold", "account": account, "seconds": self._left(probe), "reason": probe.reason})

    def _left(self, probe: _Probe) -> float:
        """Return the seconds that are left of a pause."""
        return max(0.0, probe.paused_until - self._clock.monotonic())


def _others(address: str, members: Mapping[str, Member]) -> list[str]:
    return [other for other in members if other != address]


def report_limits(accounts: Accounts, send: Send) -> None:
    """Have the accounts of a node report what they meet."""
    for account in accounts:
        name, throttle = str(account), account.throttle

        def on_limit(seconds: float, reason: str, name: str = name) -> None:
            send({"kind": "limit", "account": name, "seconds": seconds, "reason": reason})

        def on_success(name: str = name) -> None:
            send({"kind": "limit over", "account": name})

        throttle.on_limit, throttle.on_success = on_limit, on_success


def observe_limits(accounts: Accounts, message: Values) -> None:
    """Do on a node what the coordinator says of an account: hold, probe, or resume."""
    kind = message["kind"]
    for account in accounts:
        if str(account) != message["account"]:
            continue
        if kind == "hold":
            account.throttle.hold(message["seconds"], message["reason"])
            account.connections.hold(held_seconds(message["seconds"]))
        elif kind == "probe":
            account.throttle.probe(message["seconds"], message["reason"])
            account.connections.hold(message["seconds"])
        else:
            account.throttle.resume()
            account.connections.hold(0)
