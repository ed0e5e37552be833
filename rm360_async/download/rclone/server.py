"""An rclone that serves one remote on loopback, so that many ranges cost no process each.

`serve restic` passes a range through exactly and asks the remote for the file once, not for every range (measured:
2 listings for 40 ranges, where `rcd --rc-serve` needs 40 and `serve http` fetches eight times the bytes). What
it cannot do is to say why a range is refused; `Remote.why` asks for that. It could also be asked to write, so it
listens on loopback only, and its password is made for this one time and known to our one child.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from anyio.abc import ByteReceiveStream, Process

from rm360_async.domain.errors import Cause, Fault
from rm360_async.download.rclone.errors import classify_failure
from rm360_async.system.fault_points import reach
from rm360_async.system.processes import PIPE, Tail, child

_LISTENING = re.compile(rb"http://127\.0\.0\.1:(\d+)/")
_USER = "rm360"
_SECONDS = 60.0
_LAST_SECONDS = 5.0
"""For an rclone that has closed its standard error, to end."""
_AT_ONCE, _A_SECOND, _MINUTE = 4000, 100, 60.0
"""Requests to Drive: 10,000 in any minute, of the 12,000 that Google allows a user."""
_SLOWEST = 0.01


@dataclass(frozen=True)
class RequestRate:
    """How many requests one server may make at once, and then in a second."""

    burst: int
    per_second: float

    def to_environment(self) -> dict[str, str]:
        """Return what tells rclone; its own rate is 100 at once and then 10 a second."""
        pause = f"{1000 / self.per_second:.0f}ms"
        return {"RCLONE_DRIVE_PACER_MIN_SLEEP": pause, "RCLONE_DRIVE_PACER_BURST": str(self.burst)}


class RequestQuota:
    """What the servers of one remote may ask for, of which `sharers` run side by side, one after another.

    A new one gets less at once where those before it have asked for much in the last minute, and all get half as
    much after each limit.
    """

    def __init__(self, sharers: int = 1, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.share = 1 / sharers
        self._clock = clock
        self._made: list[tuple[float, int]] = []

    def rate(self) -> RequestRate:
        """Return the rate of the next server."""
        since = self._clock() - _MINUTE
        self._made = [(when, requests) for when, requests in self._made if when > since]
        left = _AT_ONCE - sum(requests for _, requests in self._made)
        return RequestRate(max(1, int(left * self.share)), _A_SECOND * self.share)

    def record(self, requests: int) -> None:
        """Take the requests that a server has made, at its end."""
        self._made.append((self._clock(), requests))

    def slow_down(self) -> None:
        """Allow half of it from now on, down to a request a second."""
        self.share = max(self.share / 2, _SLOWEST)


@dataclass
class RcloneServer:
    """Where a remote is served, and to whom."""

    port: int
    user: str
    password: str = field(repr=False)


@asynccontextmanager
async def serve_remote(
    command: Sequence[str], env: Mapping[str, str], rate: RequestRate, doing: str
) -> AsyncIterator[RcloneServer]:
    """Serve a remote for the length of the block; `command` is the rclone command without address and account.

    `doing` begins the sentence of the Fault when rclone does not begin to serve: what it said or died of decides
    the cause (see `faults`), and STALL is a silence.
    """
    password = secrets.token_urlsafe(24)
    own = {**rate.to_environment(), **env, "RCLONE_USER": _USER, "RCLONE_PASS": password}
    errors, found = Tail(), _Port()
    failed: Exception | None = None
    ended: int | None = None
    async with (
        child([*command, "--addr", "127.0.0.1:0"], env=own, stderr=PIPE) as process,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(found.look, process, process.stderr, errors)
        with anyio.move_on_after(_SECONDS):
            await found.known.wait()
        if found.port is None:
            with anyio.move_on_after(_LAST_SECONDS):
                ended = await process.wait()
            tasks.cancel_scope.cancel()
        else:
            reach("remote served")
            try:
                yield RcloneServer(found.port, _USER, password)
            except Exception as error:  # noqa: BLE001 - raised again below: out of the group it would come wrapped
                failed = error
            tasks.cancel_scope.cancel()
    if failed is not None:
        raise failed
    if found.port is None and ended is None:
        raise Fault(Cause.STALL, f"{doing}: rclone did not begin to serve within {_SECONDS:.0f} seconds")
    if found.port is None:
        raise classify_failure(ended or 0, errors.text, doing)


class _Port:
    """The port that rclone chose, read from what it says."""

    def __init__(self) -> None:
        self.port: int | None = None
        self.known = anyio.Event()
        """Set when it is known, or when rclone ended without saying."""

    async def look(self, process: Process, stream: ByteReceiveStream | None, errors: Tail) -> None:
        """Read the port, then all that follows, so that rclone never waits for a reader."""
        said = b""
        if stream is not None:
            async for chunk in stream:
                said = (said + chunk)[-65536:]
                if match := _LISTENING.search(said):
                    self.port = int(match[1])
                    self.known.set()
                    break
        errors.keep(said)
        self.known.set()
        await errors.drain(stream)
