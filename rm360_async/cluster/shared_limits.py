"""The limits of an account, which hold for all nodes: what one node meets, all observe, and one of them probes.

The node that met a limit pauses and probes as on one machine (`download.throttle`). All others request nothing of that
account until it reports that a download has started well, meets the limit again (their pause is then as long as its
own), or is lost; or until it should have probed, and may have nothing left to download.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rm360_async.cluster.members import Member
from rm360_async.cluster.values import Values
from rm360_async.download.accounts import Accounts
from rm360_async.download.throttle import MAX_PROBE_SECONDS

Send = Callable[[Values], None]


class SharedLimits:
    """The coordinator's part: who probes for which account."""

    def __init__(self, send: Callable[[str, Values], None]) -> None:
        self._send = send
        self._probing: dict[str, str] = {}
        """The address of the node that probes for each account."""

    def take(self, address: str, message: Values, members: Mapping[str, Member]) -> None:
        """Take the message of a node that met a limit, or whose probe succeeded."""
        account, kind = message["account"], message["kind"]
        prober = self._probing.get(account)
        if kind == "limit" and prober in (None, address):
            self._probing[account] = address
            self._tell_others(address, {**message, "kind": "hold"}, members)
        elif kind == "limit":  # of a request that was made before: another node probes for it
            self._send(address, {**message, "kind": "hold"})
        elif prober == address:
            del self._probing[account]
            self._tell_others(address, {"kind": "resume", "account": account}, members)

    def removed(self, address: str, members: Mapping[str, Member]) -> None:
        """Have the others probe for themselves if the node that did is gone."""
        for account in [account for account, prober in self._probing.items() if prober == address]:
            del self._probing[account]
            self._tell_others(address, {"kind": "resume", "account": account}, members)

    def added(self, address: str) -> None:
        """Hold a new node, too, while another one probes."""
        for account in self._probing:
            message = {"kind": "hold", "account": account, "seconds": 0.0, "reason": "another node probes"}
            self._send(address, message)

    def _tell_others(self, address: str, message: Values, members: Mapping[str, Member]) -> None:
        for other in members:
            if other != address:
                self._send(other, message)


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
    """Do on a node what the coordinator says of an account: hold, or resume."""
    for account in accounts:
        if str(account) == message["account"]:
            if message["kind"] == "hold":
                account.throttle.hold(message["seconds"], message["reason"])
                account.connections.hold(message["seconds"] + MAX_PROBE_SECONDS)
            else:
                account.throttle.resume()
                account.connections.hold(0)
