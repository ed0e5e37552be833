"""Start and stop other programs so that none is ever left behind.

Theory of operation. Three ways of leaving must not leave a child process:
- the block ends or fails, or its task is cancelled: `child_process` ends the whole process group (TERM, then KILL
  after a grace period) and waits under a shield until no process of the group is left, so neither a zombie nor an
  orphan survives the block, and none writes into a folder that is removed next. A child that ended by itself may have
  left processes of its own, which are ended in the same way;
- a Ctrl-C or TERM for the whole process group of the service: each child has a session of its own, so the signal
  reaches the service alone, which decides what ends;
- a kill -9 of the service: the child is started through `_launch`, which asks the kernel to kill it with its parent.
  That request is tied to the *thread* that forks, so children must be started on the event loop's thread, which
  lives as long as the process.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import anyio
from anyio import open_process  # here, because anyio would load it from the disk when it is used
from anyio.abc import ByteReceiveStream, Process

from rm360_async.domain.errors import Cause, Fault
from rm360_async.system._launch import WORKER_OPTION
from rm360_async.system.import_path import import_path

_log = logging.getLogger(__name__)
GRACE_SECONDS = 2.0
"""Between TERM and KILL: what a child leaves half-done can be resumed, and a second Ctrl-C asks for speed."""
_GROUP_EXIT_SECONDS = 5.0
"""How long killed processes of a group may take to exit: one in a disk's hands takes longer, and is not waited for."""
_GROUP_POLL_SECONDS = 0.01
PIPE, DEVNULL = subprocess.PIPE, subprocess.DEVNULL
"""A stream to read, and one that goes nowhere; other rooms take them from here, and do not import subprocess."""
_TAIL_BYTES = 2**16
_IMPORT_PATH = json.dumps(import_path())  # now: it looks at folders, and the event loop must not wait for a disk
LAUNCHER = Path(__file__).with_name("_launch.py")
_StreamTarget = int | IO[Any] | None


@asynccontextmanager
async def child_process(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    stdin: _StreamTarget = DEVNULL,
    stdout: _StreamTarget = DEVNULL,
    stderr: _StreamTarget = DEVNULL,
    grace_seconds: float = GRACE_SECONDS,
) -> AsyncIterator[Process]:
    """Run a command for the length of the block; when the block is left, the command has ended and was waited for.

    `stdin`, `stdout`, `stderr`: a descriptor, DEVNULL or PIPE; a PIPE must be read to its end. If the block is left
    early, the command's process group gets TERM and, `grace_seconds` later, KILL. A command that cannot be started
    exits 127 with one line on stderr. Raises Fault(NOT_STARTED) if the system allows no further process.
    """
    launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid())]
    process = await _start([*launcher, *command], env, stdin, stdout, stderr)
    _log.debug("process %d started: %s", process.pid, shlex.join(command))
    try:
        yield process
    finally:
        _log.debug("process %d: exit code %s", process.pid, process.returncode)
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                await _terminate(process, grace_seconds)
            await kill_group(process.pid)
            await process.aclose()


@asynccontextmanager
async def python_process(
    function: str, arguments: Sequence[str], *, env: Mapping[str, str], stdin: _StreamTarget = PIPE
) -> AsyncIterator[Process]:
    """Run a function ("package.module:name") in a Python process of its own for the length of the block.

    It imports from where this process does, and nothing from the current folder or from PYTHON* variables. It ignores
    TERM (see `_launch`); if the block is left early, its process group gets KILL. Standard output and errors are pipes.
    Raises Fault(NOT_STARTED) if the system allows no further process.
    """
    interpreter = [sys.executable, "-I", "-X", "utf8"]
    launcher = [*interpreter, str(LAUNCHER), str(os.getpid()), WORKER_OPTION, _IMPORT_PATH]
    process = await _start([*launcher, function, *arguments], env, stdin, PIPE, PIPE)
    _log.debug("process %d started: %s %s", process.pid, function, shlex.join(arguments))
    try:
        yield process
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            await kill_group(process.pid)
            await process.aclose()


async def _start(
    command: list[str],
    env: Mapping[str, str] | None,
    stdin: _StreamTarget,
    stdout: _StreamTarget,
    stderr: _StreamTarget,
) -> Process:
    """Start a command in a session of its own."""
    try:
        # a task cancelled after the fork would leave a child without owner
        with anyio.CancelScope(shield=True), _no_garbage_collection():
            process = await open_process(
                command, env=env, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
            )
    except OSError as error:
        hint = "raise the limits of processes, open files and memory of this user, job or container"
        raise Fault(Cause.NOT_STARTED, f"no process can be started: {error.strerror or error}", hint) from error
    return process


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Keep a forked child from collecting garbage before it becomes the other program.

    uvloop runs some Python in it, and a finalizer that waits for a thread would wait for ever: threads are not forked.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


async def _terminate(process: Process, grace_seconds: float) -> None:
    """Send TERM to the process group, KILL to the command itself after the grace period, and wait for it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with anyio.move_on_after(grace_seconds):
        await process.wait()
    if process.returncode is None:
        process.kill()
        await process.wait()


async def kill_group(group: int) -> None:
    """Kill what is left of the process group of a command that has ended, until nothing is.

    It is a poll, because only their new parent, init, can wait for those processes. Their group keeps its number from
    being given to another process.
    """
    with suppress(ProcessLookupError), anyio.move_on_after(_GROUP_EXIT_SECONDS):
        while True:
            os.killpg(group, signal.SIGKILL)
            await anyio.sleep(_GROUP_POLL_SECONDS)


class Tail:
    """The last bytes of a stream: a child that prints without end costs no memory."""

    def __init__(self, max_bytes: int = _TAIL_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = b""

    async def drain(self, stream: ByteReceiveStream | None) -> None:
        """Read a stream to its end, in chunks: a line without an end must not stop the reading."""
        if stream is None:
            return
        async for chunk in stream:
            self.append(chunk)

    def append(self, chunk: bytes) -> None:
        """Add bytes that the caller has read."""
        self._bytes = (self._bytes + chunk)[-self._max_bytes :]

    @property
    def text(self) -> str:
        """Return the last bytes as text."""
        return self._bytes.decode(errors="replace")


@dataclass(frozen=True)
class ProcessResult:
    """How a command ended: exit code (negative: killed by that signal), its output, the end of its errors."""

    returncode: int
    stdout: bytes
    stderr: str


async def run_command(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, max_error_bytes: int = _TAIL_BYTES
) -> ProcessResult:
    """Run a command to its end; return all of its output and the last bytes of its errors (64 KiB)."""
    output, errors = bytearray(), Tail(max_error_bytes)
    async with child_process(command, env=env, stdout=PIPE, stderr=PIPE) as process:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(errors.drain, process.stderr)
            if process.stdout is not None:
                async for chunk in process.stdout:
                    output += chunk
        returncode = await process.wait()
    return ProcessResult(returncode, bytes(output), errors.text)


def try_command(command: Sequence[str], env: Mapping[str, str], seconds: float) -> ProcessResult | None:
    """Run a command that answers at once, and wait for it; return None if it does not start or end in time.

    Blocks the event loop: only for what is tried before the work begins.
    """
    try:
        ended = subprocess.run(
            command, env=env, stdin=DEVNULL, capture_output=True, check=False, timeout=seconds, start_new_session=True
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ProcessResult(ended.returncode, ended.stdout, ended.stderr.decode(errors="replace"))
