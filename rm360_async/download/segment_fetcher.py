"""Fetch segments over connections to the rclone that serves an account, and write them into sparse files."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import anyio
from anyio.abc import TaskGroup

from rm360_async.domain.errors import Cause
from rm360_async.domain.record import RemoteFile, RemoteFolder
from rm360_async.download.rate_limiter import RateLimiter
from rm360_async.download.rclone import Remote
from rm360_async.download.rclone.range_connection import ConnectionLost, RangeConnection, RangeRejected
from rm360_async.download.request_bucket import RequestBucket
from rm360_async.download.server_process import ServerProcess
from rm360_async.download.transfer import FileTransfer, Segment
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.log import logger
from rm360_async.system.os_errors import os_errors

log = logger(__name__)
BUFFER_BYTES = 2**19
"""What a connection collects before it is written and entered in the map: as much is fetched twice after a kill."""
_PROOF_BYTES = 1024


class RangesUnsupported(Exception):
    """A remote serves a file but no ranges of it, or other ranges than were requested."""

    def __init__(self, path: str, reason: str = "it sent other bytes than were requested") -> None:
        super().__init__(f"the remote does not serve ranges of {path} ({reason})")


class SegmentFetcher:
    """The connections that are open, and the rclones at their other ends.

    `total` bounds those of all accounts; `on_open` is called when a file has been looked up. Mutable state: the pool of
    idle connections and the counters, touched only in the event loop.
    """

    def __init__(
        self,
        remote: Remote,
        limiter: RateLimiter,
        bucket: RequestBucket,
        total: anyio.CapacityLimiter,
        on_open: Callable[[], None],
    ) -> None:
        self.remote, self.limiter, self.bucket, self._total, self._on_open = remote, limiter, bucket, total, on_open
        self.tasks: TaskGroup | None = None
        """In which rclone is started; None while the account is not in use."""
        self._receiving: set[Segment] = set()
        """Those whose body is arriving now."""
        self._write_seconds = 0.0
        """What the segments that have ended have waited for the disk."""
        self.received = 0
        """Bytes that have arrived, as of the last `count`."""
        self._servers: dict[RemoteFolder | None, ServerProcess] = {}
        self._served: dict[str, RemoteFile] = {}
        """The files that were requested in this run, by their paths."""
        self._serves_ranges = False
        """True once it is known that the remote sends the ranges that are requested."""
        self._idle: list[RangeConnection] = []
        self._threads = anyio.CapacityLimiter(total.total_tokens)

    async def close(self) -> None:
        """Close the idle connections."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    def restart(self, file: RemoteFile) -> None:
        """End the rclone that serves a file; the next connection starts another."""
        self._server(file.folder).restart()

    def forget_earlier_version(self, file: RemoteFile) -> None:
        """Start another rclone if the one that serves may know an earlier version of a file: it looks up only once."""
        if self._served.get(file.path, file) != file:
            log.info("the remote's file has changed; it is looked up again", file=file.path)
            self.restart(file)
        self._served[file.path] = file

    async def fetch(self, segment: Segment) -> None:
        """Fetch a segment. Raises RangeRejected, ConnectionLost, RangesUnsupported and Fault; what arrived is kept."""
        transfer = segment.transfer
        async with self._total:
            await self.bucket.take()
            connection = await self._connect(transfer.file.folder)
            try:
                segment.started_at = segment.counted = segment.position
                log.debug(f"requesting bytes {segment.position} to {segment.end} of {transfer.file.path}")
                if transfer.in_one_piece:
                    await connection.request_whole(transfer.file.path_in_folder, transfer.file.size)
                else:
                    await connection.request(transfer.file.path_in_folder, segment.position, segment.end)
                if not self._must_prove_ranges(transfer):
                    self._open(transfer)
                await self._receive(connection, segment)
                if not transfer.is_open:
                    await self._prove_ranges(connection, segment)
                    self._open(transfer)
            except BaseException:
                connection.close()
                raise
        self._idle.append(connection)

    def _open(self, transfer: FileTransfer) -> None:
        """Let all connections request the file: rclone has looked it up, and the first request has its answer."""
        if not transfer.is_open:
            transfer.is_open = True
            self._on_open()

    def _must_prove_ranges(self, transfer: FileTransfer) -> bool:
        """Return True for the first file of an account, and for one without an md5, which would tell in the end."""
        proven = self._serves_ranges and transfer.file.md5 is not None
        return not (transfer.is_open or transfer.in_one_piece or proven)

    async def _prove_ranges(self, connection: RangeConnection, segment: Segment) -> None:
        """Request a part of what has just arrived once more, alone: a remote without ranges sends other bytes."""
        start = (segment.started_at + segment.end) // 2
        size = min(_PROOF_BYTES, segment.end - start)
        received = bytearray()
        await self.bucket.take()
        try:
            await connection.request(segment.transfer.file.path_in_folder, start, start + size)
            await connection.receive(received.extend, size)
        except (RangeRejected, ConnectionLost):
            segment.position = segment.started_at  # what has arrived is not trusted yet
            raise
        with os_errors("read", segment.transfer.sparse.path, "check storage.temp_dir", Cause.NOT_WRITABLE):
            written = await on_disk_thread(os.pread, segment.transfer.sparse.descriptor, size, start)
        if received != written:
            raise RangesUnsupported(segment.transfer.file.path)
        self._serves_ranges = True

    async def _receive(self, connection: RangeConnection, segment: Segment) -> None:
        """Write what arrives, and enter it in the map; also what a broken connection has brought is kept."""

        def write(data: memoryview) -> None:
            began = time.monotonic()
            with os_errors("write", segment.transfer.sparse.path, "check storage.temp_dir", Cause.NOT_WRITABLE):
                segment.transfer.sparse.write(segment.position, data)
            segment.position += len(data)
            segment.write_seconds += time.monotonic() - began

        self._receiving.add(segment)
        try:
            while (size := segment.end - segment.position) > 0:
                if self.limiter.has_limit:
                    size = min(size, BUFFER_BYTES)
                await connection.receive(write, size)
                await self.limiter.take(size)
        finally:  # also of a task that was cancelled meanwhile
            self._count(segment)
            self._receiving.discard(segment)
            self._write_seconds += segment.write_seconds

    @property
    def bodies(self) -> int:
        """Return how many requests there are whose body is arriving now."""
        return len(self._receiving)

    @property
    def write_seconds(self) -> float:
        """Return what the connections together have waited for the disk."""
        return self._write_seconds + sum(segment.write_seconds for segment in self._receiving)

    def count(self) -> None:
        """Count what the threads have written until now."""
        for segment in self._receiving:
            self._count(segment)

    def _count(self, segment: Segment) -> None:
        """Count what was written since the last time; on the event loop, whose tasks read the counters."""
        size, segment.counted = segment.position - segment.counted, segment.position
        if size:
            segment.silent_ticks = 0
            self.received += size
            segment.transfer.record(size)

    async def _connect(self, folder: RemoteFolder | None) -> RangeConnection:
        server = await self._server(folder).address(self.tasks)
        for connection in list(self._idle):
            if connection.server.ended.is_set():
                self._idle.remove(connection)
                connection.close()
            elif connection.server is server:
                self._idle.remove(connection)
                return connection
        connection = RangeConnection(server, self._threads, BUFFER_BYTES)
        try:
            await connection.connect()
        except BaseException:
            connection.close()
            raise
        return connection

    def _server(self, folder: RemoteFolder | None) -> ServerProcess:
        if folder not in self._servers:
            self._servers[folder] = ServerProcess(self.remote, folder)
        return self._servers[folder]
