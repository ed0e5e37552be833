"""One resumable download: rclone writes the part file itself, we follow it, hash it and judge it.

Theory of operation. `rclone cat --offset N` gives a right-positioned run of bytes from N on, and nothing
else: whatever ends it, what it wrote is a true prefix. So its standard output *is* the part file, opened
for appending, and the part's length is the whole state of a transfer; the bytes never pass through this
process. `cat` verifies nothing, though: a short body, a flipped byte or an ignored range end with exit 0.
So the length is compared with the listing, and the md5 of the part is computed by following the file while
it grows (from its start, so that a resumed prefix is proved again).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiofiles
import anyio
from anyio.abc import Process

from rm360_async.domain.errors import Cause
from rm360_async.download.rclone.stall import TRICKLE_TICKS, StallWatch
from rm360_async.system.fault_points import reach
from rm360_async.system.linux import begin_write_back
from rm360_async.system.os_errors import os_errors
from rm360_async.system.processes import PIPE, Tail, child

OnBytes = Callable[[int], None]
_CHUNK = 4 * 2**20
_LOOK_SECONDS = 0.1
"""Between two looks of the follower: what came since the last one is still to be hashed when rclone ends."""


@dataclass(frozen=True)
class StallPolicy:
    """How often a transfer is looked at (seconds), and after how many looks it counts as stalled (see `stall`)."""

    tick_seconds: float = 1.0
    silent_ticks: int = 90
    trickle_ticks: int = TRICKLE_TICKS


@dataclass(frozen=True)
class TransferResult:
    """How rclone ended, and why we ended it ('' when we did not)."""

    returncode: int
    stderr: str
    stalled: str = ""


@contextmanager
def open_part(part: Path, size: int) -> Iterator[int]:
    """Open a part file for appending and give its descriptor; a part longer than `size` is emptied first.

    Raises Fault(DISK_FULL) or Fault(NOT_WRITABLE).
    """
    with os_errors("write", part, "check storage.temp_dir", Cause.NOT_WRITABLE):
        descriptor = os.open(part, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        try:
            if os.fstat(descriptor).st_size > size:
                os.ftruncate(descriptor, 0)
            reach("part opened")
            yield descriptor
        finally:
            os.close(descriptor)


async def run_download(
    command: Sequence[str], env: Mapping[str, str], descriptor: int, pace: StallPolicy, on_bytes: OnBytes
) -> TransferResult:
    """Run rclone with its output in the descriptor, until it ends or stalls."""
    errors, stalled = Tail(), ""
    running = child(command, env=env, stdout=descriptor, stderr=PIPE)
    async with running as process, anyio.create_task_group() as tasks:
        tasks.start_soon(errors.drain, process.stderr)
        stalled = await _watch(process, descriptor, pace, on_bytes)
        if stalled:
            tasks.cancel_scope.cancel()
    returncode = process.returncode
    return TransferResult(-1 if returncode is None else returncode, errors.text, stalled)


async def _watch(process: Process, descriptor: int, pace: StallPolicy, on_bytes: OnBytes) -> str:
    size = os.fstat(descriptor).st_size
    watch = StallWatch(size, pace.silent_ticks, pace.trickle_ticks)
    on_bytes(size)
    while process.returncode is None:
        with anyio.move_on_after(pace.tick_seconds):
            await process.wait()
        size = os.fstat(descriptor).st_size
        on_bytes(size)
        if process.returncode is None and (stalled := watch.tick(size)):
            return stalled
    return ""


class PartHasher:
    """The md5 of a file that is still being written; each byte is read once.

    The disk begins to write what was read at once: else gigabytes of it wait for the sync at the end, and with
    them the next download.
    """

    def __init__(self, part: Path) -> None:
        self._part = part
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._read = 0
        self._written = anyio.Event()
        self.error: OSError | None = None

    def finish(self) -> None:
        """Say that the file grows no more: `follow` returns when it has read to its end."""
        self._written.set()

    async def follow(self) -> None:
        """Read and hash until `finish` was called and the end is reached; a failed read is kept in `error`."""
        try:
            file = await aiofiles.open(self._part, "rb")
            try:
                while not await self._at_end(file):
                    pass
            finally:
                with anyio.CancelScope(shield=True):
                    await file.close()
        except OSError as error:
            self.error = error

    async def _at_end(self, file: aiofiles.threadpool.binary.AsyncBufferedReader) -> bool:
        written = self._written.is_set()  # asked before reading: what was written before it is then all there
        with anyio.CancelScope(shield=True):  # a read left behind in its thread would outlive the file
            chunk = await file.read(_CHUNK)
        if chunk:
            await anyio.to_thread.run_sync(self._take, file.fileno(), chunk)
            return False
        if not written:
            with anyio.move_on_after(_LOOK_SECONDS):
                await self._written.wait()
        return written

    def _take(self, descriptor: int, chunk: bytes) -> None:
        self._md5.update(chunk)
        begin_write_back(descriptor, self._read, len(chunk))
        self._read += len(chunk)

    @property
    def md5(self) -> str:
        """Return the md5 of what was read, in hex."""
        return self._md5.hexdigest()
