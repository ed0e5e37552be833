"""The transfer of one file's bytes: rclone itself writes the part file, and is watched.

Theory of operation. `rclone cat --offset N` prints the bytes from N on, in order, and nothing else: however it ends,
what it wrote is a correct prefix. So its standard output *is* the part file, opened for appending, and the part's
length is the whole state of a transfer; the bytes never pass through this process. `cat` verifies nothing, though: a
short body, a flipped byte or an ignored range end with exit 0. So the length is compared with the listing, and the md5
of the part is computed while it grows (see `part_hasher`).
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio.abc import Process

from rm360_async.domain.errors import Cause
from rm360_async.download.rclone.stall import StallPolicy, StallWatch
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.fault_points import reach
from rm360_async.system.os_errors import os_errors
from rm360_async.system.processes import PIPE, Tail, child_process

OnBytes = Callable[[int], None]
_PART_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


@dataclass(frozen=True)
class TransferResult:
    """How rclone ended. `stalled`: why it was ended from here, '' if it was not."""

    returncode: int
    stderr: str
    stalled: str = ""


@asynccontextmanager
async def open_part(part: Path, size: int) -> AsyncIterator[int]:
    """Open a part file for appending and give its descriptor; a part longer than `size` is emptied first.

    Raises Fault(DISK_FULL) or Fault(NOT_WRITABLE), also for an OSError of the block.
    """
    with os_errors("write", part, "check storage.temp_dir", Cause.NOT_WRITABLE):
        descriptor = await on_disk_thread(_open_part, part, size)
        try:
            reach("part opened")
            yield descriptor
        finally:
            with anyio.CancelScope(shield=True):
                await on_disk_thread(os.close, descriptor)


def _open_part(part: Path, size: int) -> int:
    descriptor = os.open(part, _PART_FLAGS, 0o666)
    try:
        if os.fstat(descriptor).st_size > size:
            os.ftruncate(descriptor, 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


async def size_of(descriptor: int) -> int:
    """Return the bytes of an open file. Raises OSError."""
    return (await on_disk_thread(os.fstat, descriptor)).st_size


async def run_transfer(
    command: Sequence[str], env: Mapping[str, str], descriptor: int, policy: StallPolicy, on_bytes: OnBytes
) -> TransferResult:
    """Run rclone with its output in the descriptor, until it ends or stalls."""
    errors, stalled = Tail(), ""
    rclone = child_process(command, env=env, stdout=descriptor, stderr=PIPE)
    async with rclone as process, anyio.create_task_group() as tasks:
        tasks.start_soon(errors.drain, process.stderr)
        stalled = await _watch(process, descriptor, policy, on_bytes)
        if stalled:
            tasks.cancel_scope.cancel()
    returncode = process.returncode
    return TransferResult(-1 if returncode is None else returncode, errors.text, stalled)


async def _watch(process: Process, descriptor: int, policy: StallPolicy, on_bytes: OnBytes) -> str:
    """Wait until the process ends or the file stalls; return why it stalled, or ''."""
    size = await size_of(descriptor)
    stall = StallWatch(size, policy)
    on_bytes(size)
    while process.returncode is None:
        with anyio.move_on_after(policy.tick_seconds):
            await process.wait()
        size = await size_of(descriptor)
        on_bytes(size)
        if process.returncode is None and (reason := stall.tick(size)):
            return reason
    return ""
