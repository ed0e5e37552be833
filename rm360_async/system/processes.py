"""Start and stop other programs so that none is ever left behind.

Theory of operation. Three ways of leaving must not leave a child:
- the block ends or fails, or its task is cancelled: `child` ends the whole process group (TERM, then KILL
  after a grace) and waits for it under a shield, so neither zombie nor orphan survives the block;
- a Ctrl-C or TERM for our whole group: each child has a session of its own, so it reaches only us, and
  we decide what ends;
- a kill -9 of us: on Linux the child is started through `_launch`, which asks the kernel to kill it with
  us. That request is tied to the *thread* that forks, so children must be started on the event loop's
  thread, which lives as long as the process. Elsewhere the command is started directly.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import anyio
from anyio.abc import ByteReceiveStream, Process

GRACE_SECONDS = 2.0
"""Between TERM and KILL; what our children leave half-done is made for it, and a second Ctrl-C means now."""
_TAIL_BYTES = 2**16
_LAUNCHER = Path(__file__).with_name("_launch.py")
PIPE, DEVNULL = subprocess.PIPE, subprocess.DEVNULL
"""A stream to read, and one that goes nowhere; other rooms take them from here, and do not import subprocess."""
_NotPiped = int | IO[Any] | None


@asynccontextmanager
async def child(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    stdin: _NotPiped = DEVNULL,
    stdout: _NotPiped = DEVNULL,
    stderr: _NotPiped = DEVNULL,
    grace_seconds: float = GRACE_SECONDS,
) -> AsyncIterator[Process]:
    """Run a command for the length of the block; when the block is left it has ended and was waited for.

    `stdin`, `stdout`, `stderr`: a descriptor, DEVNULL or PIPE; whoever asks for a PIPE must read it to its
    end. Left early, the command's process group gets TERM and, `grace_seconds` later, KILL. A command that
    cannot be started exits 127 with one line on stderr on Linux, and raises OSError elsewhere.
    """
    with anyio.CancelScope(shield=True):  # cancelled between fork and return, nobody would own the child
        process = await anyio.open_process(
            _launched(command), env=env, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
        )
    try:
        yield process
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                await _end(process, grace_seconds)
            await process.aclose()


def _launched(command: Sequence[str]) -> list[str]:
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), *command]


async def _end(process: Process, grace_seconds: float) -> None:
    """Send TERM to the group, KILL after the grace, and wait; the KILL also finds a straggling grandchild."""
    _signal_group(process, signal.SIGTERM)
    with anyio.move_on_after(grace_seconds):
        await process.wait()
    _signal_group(process, signal.SIGKILL)
    await process.wait()


def _signal_group(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS says EPERM of a group of zombies
        os.killpg(process.pid, number)


class Tail:
    """The last bytes that a stream said: a child that prints without end costs no memory."""

    def __init__(self, limit: int = _TAIL_BYTES) -> None:
        self._limit = limit
        self._bytes = b""

    async def drain(self, stream: ByteReceiveStream | None) -> None:
        """Read a stream to its end, in chunks: a line without an end must not stop the reading."""
        if stream is None:
            return
        async for chunk in stream:
            self.keep(chunk)

    def keep(self, chunk: bytes) -> None:
        """Take bytes that somebody else has read."""
        self._bytes = (self._bytes + chunk)[-self._limit :]

    @property
    def text(self) -> str:
        """Return the kept end as text."""
        return self._bytes.decode(errors="replace")


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code (negative: killed by that signal), what it printed, its last errors."""

    returncode: int
    stdout: bytes
    stderr: str


async def run_to_end(command: Sequence[str], *, env: Mapping[str, str] | None = None) -> Ended:
    """Run a command to its end and return everything it printed and the last 64 KiB of its errors."""
    printed, errors = bytearray(), Tail()
    async with child(command, env=env, stdout=PIPE, stderr=PIPE) as process:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(errors.drain, process.stderr)
            if process.stdout is not None:
                async for chunk in process.stdout:
                    printed += chunk
        returncode = await process.wait()
    return Ended(returncode, bytes(printed), errors.text)
