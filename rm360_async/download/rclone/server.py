"""An rclone that serves one remote on loopback, so that many ranges do not cost a process each.

`serve restic` passes a range through exactly and asks the remote for the file once, not for every range (measured:
2 listings for 40 ranges, where `rcd --rc-serve` needs 40 and `serve http` downloads eight times the bytes). What it
cannot do is tell why a range is refused; `Remote.explain_refusal` finds that out. It would also accept writes, so it
listens on loopback only, and its password is made for this one time and known to one child process.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from anyio.abc import ByteReceiveStream, Process

from rm360_async.domain.errors import Cause, Fault
from rm360_async.download.rclone.errors import classify_failure
from rm360_async.system.exception_groups import unwraps_faults
from rm360_async.system.fault_points import reach
from rm360_async.system.processes import PIPE, Tail, child_process

_LISTENING = re.compile(rb"http://127\.0\.0\.1:(\d+)/")
_OUTPUT_BYTES = 2**16
_USER = "rm360"
_START_SECONDS = 60.0
_MANY_REQUESTS = {"RCLONE_DRIVE_PACER_MIN_SLEEP": "10ms", "RCLONE_DRIVE_PACER_BURST": "4000", "RCLONE_TRANSFERS": "64"}
"""rclone's own rate is 10 requests a second, and it keeps twice as many idle connections as it has transfers; how many
requests there are is decided here (see `download.request_bucket`)."""
_EXIT_SECONDS = 5.0
"""For an rclone that has closed its standard error, to end."""


@dataclass(frozen=True)
class RcloneServer:
    """Where on loopback a remote is served, and the credentials for it."""

    port: int
    user: str
    password: str = field(repr=False)
    ended: anyio.Event = field(repr=False, compare=False, default_factory=anyio.Event)
    """Set when rclone has ended, whatever ended it."""


@asynccontextmanager
async def serve_remote(command: Sequence[str], env: Mapping[str, str], action: str) -> AsyncIterator[RcloneServer]:
    """Serve a remote for the length of the block; `command` is the rclone command without address and credentials.

    `action` begins the message of the Fault when rclone does not start to serve: its output and exit decide the cause
    (see `errors`), and a silence is STALL.
    """
    password = secrets.token_urlsafe(24)
    credentials = {"RCLONE_USER": _USER, "RCLONE_PASS": password}
    output = _ServerOutput()
    with unwraps_faults():
        async with (
            child_process(
                [*command, "--addr", "127.0.0.1:0"], env={**_MANY_REQUESTS, **env, **credentials}, stderr=PIPE
            ) as process,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(output.read, process.stderr)
            port = await _port(process, output, action)
            reach("remote served")
            yield RcloneServer(port, _USER, password, output.ended)
            tasks.cancel_scope.cancel()


async def _port(process: Process, output: _ServerOutput, action: str) -> int:
    """Return the port on which rclone listens. Raises Fault if it does not."""
    with anyio.move_on_after(_START_SECONDS):
        await output.known.wait()
    if output.port is not None:
        return output.port
    with anyio.move_on_after(_EXIT_SECONDS):
        exit_code = await process.wait()
        raise classify_failure(exit_code, output.errors.text, action)
    raise Fault(Cause.STALL, f"{action}: rclone did not start to serve within {_START_SECONDS:.0f} seconds")


class _ServerOutput:
    """What a serving rclone prints: the port that it chose, and the end of its errors."""

    def __init__(self) -> None:
        self.port: int | None = None
        self.errors = Tail()
        self.known = anyio.Event()
        """Set when the port is known, or when the output ended without one."""
        self.ended = anyio.Event()

    async def read(self, stream: ByteReceiveStream | None) -> None:
        """Read the port, then all that follows, so that rclone never waits for a reader."""
        printed = b""
        if stream is not None:
            async for chunk in stream:
                printed = (printed + chunk)[-_OUTPUT_BYTES:]
                if match := _LISTENING.search(printed):
                    self.port = int(match[1])
                    self.known.set()
                    break
        self.errors.append(printed)
        self.known.set()
        await self.errors.drain(stream)
        self.ended.set()
