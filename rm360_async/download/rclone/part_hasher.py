"""The md5 of a part file, computed while rclone is still writing it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import aiofiles
import anyio

from rm360_async.domain.errors import Cause
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.linux import begin_write_back
from rm360_async.system.os_errors import os_errors

_CHUNK_BYTES = 4 * 2**20
_POLL_SECONDS = 0.1
"""Between two reads at the end of the file: what came since the last one is still to be hashed when rclone ends."""


class PartHasher:
    """Reads each byte of a growing file once, from its start, so that a resumed prefix is verified again.

    The disk begins to write at once what was read: else gigabytes of it wait for the sync at the end, and with them
    the next download.
    """

    def __init__(self, part: Path) -> None:
        self._part = part
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._position = 0
        self._finished = anyio.Event()

    def finish(self) -> None:
        """Declare that the file grows no more: `follow` returns when it has read to its end."""
        self._finished.set()

    async def follow(self) -> None:
        """Read and hash until `finish` was called and the end is reached. Raises Fault for a disk that fails."""
        with os_errors("read", self._part, "check storage.temp_dir", Cause.NOT_WRITABLE):
            file = await aiofiles.open(self._part, "rb")
            try:
                while not await self._read_on(file):
                    pass
            finally:
                with anyio.CancelScope(shield=True):
                    await file.close()

    async def _read_on(self, file: aiofiles.threadpool.binary.AsyncBufferedReader) -> bool:
        """Hash the next chunk; return True once the end of a finished file is reached."""
        finished = self._finished.is_set()  # asked before reading: all that was written until then is there
        with anyio.CancelScope(shield=True):  # a read left behind in its thread would outlive the file
            chunk = await file.read(_CHUNK_BYTES)
        if chunk:
            await on_disk_thread(self._hash, file.fileno(), chunk)
            return False
        if not finished:
            with anyio.move_on_after(_POLL_SECONDS):
                await self._finished.wait()
        return finished

    def _hash(self, descriptor: int, chunk: bytes) -> None:
        self._md5.update(chunk)
        begin_write_back(descriptor, self._position, len(chunk))
        self._position += len(chunk)

    @property
    def md5(self) -> str:
        """Return the md5 of what was read, in hex."""
        return self._md5.hexdigest()
