"""The md5 of a file, computed while its bytes arrive: it follows the bytes that are there without a gap."""

from __future__ import annotations

import hashlib

import aiofiles
import anyio

from rm360_async.domain.errors import Cause
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.linux import begin_write_back
from rm360_async.system.os_errors import os_errors
from rm360_async.system.sparse_file import SparseFile

_CHUNK_BYTES = 4 * 2**20
_POLL_SECONDS = 0.25
"""Between two looks at the end of the prefix: what came since the last one is still to be hashed in the end."""


class PrefixHasher:
    """Reads each byte of a growing file once, from its start, so that what an earlier attempt left is compared too.

    The disk begins to write at once what was read: else gigabytes of it wait for the sync at the end, and with them
    the next download.
    """

    def __init__(self, sparse: SparseFile) -> None:
        self._sparse = sparse
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._buffer = memoryview(bytearray(_CHUNK_BYTES))
        self._position = 0
        self._finished = anyio.Event()

    def finish(self) -> None:
        """Declare that the file is complete: `follow` returns when it has read to its end."""
        self._finished.set()

    async def follow(self) -> None:
        """Hash the prefix as it grows, to the file's end after `finish`. Raises Fault for a disk that fails."""
        with os_errors("read", self._sparse.path, "check storage.temp_dir", Cause.NOT_WRITABLE):
            # without a buffer, which would read on into what has not arrived
            file = await aiofiles.open(self._sparse.path, "rb", buffering=0)
            try:
                while not await self._read_on(file):
                    pass
            finally:
                with anyio.CancelScope(shield=True):
                    await file.close()

    async def _read_on(self, file: aiofiles.threadpool.binary.AsyncFileIO) -> bool:
        """Hash the next chunk; return True once the end of a finished file is reached."""
        finished = self._finished.is_set()  # asked before the prefix: all that was written until then is there
        size = min(_CHUNK_BYTES, self._sparse.prefix_bytes - self._position)
        if size > 0:
            with anyio.CancelScope(shield=True):  # a read left behind in its thread would outlive the file
                size = await file.readinto(self._buffer[:size]) or 0
            await on_disk_thread(self._hash, file.fileno(), self._buffer[:size])
            return False
        if not finished:
            with anyio.move_on_after(_POLL_SECONDS):
                await self._finished.wait()
        return finished

    def _hash(self, descriptor: int, chunk: memoryview) -> None:
        self._md5.update(chunk)
        begin_write_back(descriptor, self._position, len(chunk))
        self._position += len(chunk)

    @property
    def md5(self) -> str:
        """Return the md5 of what was read, in hex."""
        return self._md5.hexdigest()
