"""One account: a remote, its limits, and its connections. Whole files and ranges come through here alike."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.record import RemoteFile
from rm360_async.download import spool
from rm360_async.download.connections import Connections
from rm360_async.download.prefix_hasher import PrefixHasher
from rm360_async.download.rclone import Remote, require_unique
from rm360_async.download.segment_fetcher import RangesUnsupported
from rm360_async.download.throttle import Throttle
from rm360_async.download.transfer import FileTransfer, open_sparse
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.exception_groups import unwraps_faults
from rm360_async.system.fault_points import reach
from rm360_async.system.log import logger
from rm360_async.system.os_errors import os_errors
from rm360_async.system.sparse_file import SparseFile

log = logger(__name__)


class Account:
    """Downloads from one remote. `throttle` pauses it after failures that concern all of its files."""

    def __init__(self, remote: Remote, throttle: Throttle, connections: Connections) -> None:
        self.remote, self.throttle, self.connections = remote, throttle, connections

    def __str__(self) -> str:
        return str(self.remote)

    async def download(self, file: RemoteFile, path: Path, on_bytes: Callable[[int], None] = lambda _: None) -> str:
        """Download what the sparse file at `path` lacks of a whole file; return its md5 in hex.

        The file is then complete, compared (size, and md5 where the remote has one) and synced. `on_bytes` gets the
        bytes that are present as they grow. When this raises, what has arrived stays for the next attempt, except
        after Fault(MISMATCH). Raises Fault: UNREADABLE (0 bytes), DUPLICATE_NAME, STALL, DISK_FULL, NOT_WRITABLE,
        and whatever the remote answered.
        """
        require_unique(file)
        if file.size == 0:
            raise Fault(Cause.UNREADABLE, f"{file.path} is empty (0 bytes) on the remote", "ask its owner")
        async with open_sparse(path, file.size, verify=False) as sparse:
            reach("part opened")
            md5, expected = await self._fetch_correctly(file, sparse, on_bytes)
            reach("part compared")
            if expected in (None, md5):
                await on_disk_thread(os.fsync, sparse.descriptor)
                return md5
        with os_errors("remove", path):
            await on_disk_thread(spool.remove, path)
        raise Fault(Cause.MISMATCH, f"{file.path}: the md5 of what arrived is {md5}, the remote lists {expected}")

    async def _fetch_correctly(
        self, file: RemoteFile, sparse: SparseFile, on_bytes: Callable[[int], None]
    ) -> tuple[str, str | None]:
        """Download what a file lacks; return its md5 and the one that the remote has.

        If they differ because the disk has lost bytes that had arrived, only these are downloaded again.
        """
        in_one_piece = False
        while True:
            try:
                md5, expected = await self._fetch_and_hash(file, sparse, on_bytes, in_one_piece=in_one_piece)
            except RangesUnsupported as unsupported:
                log.warning(f"downloading {file.path} in one piece: {unsupported}", remote=str(self))
                await on_disk_thread(sparse.drop_all)
                in_one_piece = True
                continue
            if expected in (None, md5) or not (dropped := await on_disk_thread(sparse.drop_damaged)):
                return md5, expected
            log.warning("downloading again what the disk has lost", file=file.path, bytes=dropped)

    @asynccontextmanager
    async def transfer(
        self, file: RemoteFile, sparse: SparseFile, on_bytes: Callable[[int], None]
    ) -> AsyncIterator[FileTransfer]:
        """Give a transfer into a sparse file, which downloads the spans that it wants until the block ends.

        Waiting for it raises RangesUnsupported for a remote that serves no ranges of the file.
        """
        transfer = FileTransfer(file, sparse, self.connections.policy, on_bytes)
        async with self.connections.attached(transfer):
            yield transfer

    async def _fetch_and_hash(
        self, file: RemoteFile, sparse: SparseFile, on_bytes: Callable[[int], None], *, in_one_piece: bool
    ) -> tuple[str, str | None]:
        """Download what a file lacks while its md5 is computed; return that, and the one that the remote has."""
        hasher = PrefixHasher(sparse)

        async def fetch() -> None:
            await self._fetch(file, sparse, on_bytes, in_one_piece=in_one_piece)
            reach("part downloaded")
            hasher.finish()

        with unwraps_faults():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(hasher.follow)
                tasks.start_soon(fetch)
                expected = await self.remote.expected_md5(file)
        return hasher.md5, expected

    async def _fetch(
        self, file: RemoteFile, sparse: SparseFile, on_bytes: Callable[[int], None], *, in_one_piece: bool
    ) -> None:
        present = sparse.present.total

        def on_piece(size: int) -> None:
            nonlocal present
            present += size
            on_bytes(present)

        on_bytes(present)
        if present == file.size:
            return
        log.info(f"downloading {file.path}", remote=str(self), present=present, size=file.size)
        transfer = FileTransfer(file, sparse, self.connections.policy, on_piece, in_one_piece=in_one_piece)
        transfer.want(sparse.missing(0, file.size))
        async with self.connections.attached(transfer):
            await transfer.wait_until_arrived()
