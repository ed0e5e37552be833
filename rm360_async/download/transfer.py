"""One remote file while its wanted bytes arrive in a sparse file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio

from rm360_async.domain.errors import Cause
from rm360_async.domain.record import RemoteFile
from rm360_async.download.rclone.stall import StallPolicy, StallWatch
from rm360_async.download.segments import SegmentQueue
from rm360_async.system.changed import Changed
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.os_errors import os_errors
from rm360_async.system.spans import Span
from rm360_async.system.sparse_file import SparseFile

OPENING_BYTES = 2**18
"""Of the first request for a file, during which rclone looks it up; all other connections wait for that."""


@dataclass(eq=False)
class Segment:
    """A span on its way over one connection; `position` is up to where it has arrived."""

    transfer: FileTransfer
    position: int
    end: int
    started_at: int = -1
    """Offset of the request; -1 before it."""
    counted: int = -1
    """Up to where what has arrived is counted."""
    write_seconds: float = 0.0
    """What it has waited for the disk."""
    urgent: bool = False
    silent_ticks: int = 0
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    @property
    def has_progressed(self) -> bool:
        """Return True if this request has brought a byte."""
        return self.position > self.started_at >= 0


@asynccontextmanager
async def open_sparse(path: Path, size: int, *, verify: bool) -> AsyncIterator[SparseFile]:
    """Open a sparse file for the length of the block; see `SparseFile`.

    Raises Fault(DISK_FULL) or Fault(NOT_WRITABLE), also for an OSError of the block.
    """
    with os_errors("write", path, "check storage.temp_dir", Cause.NOT_WRITABLE):
        sparse = await on_disk_thread(partial(SparseFile, path, size, verify=verify))
        try:
            yield sparse
        finally:
            with anyio.CancelScope(shield=True):
                await on_disk_thread(sparse.close)


class FileTransfer:
    """The wanted bytes of one remote file: queued, on their way, or in its sparse file.

    `on_bytes` is called with the size of each piece that has been written. `urgent` spans come before all others, of
    any file. `in_one_piece`: for a remote that serves no ranges; then one request gets the whole file.
    """

    def __init__(
        self,
        file: RemoteFile,
        sparse: SparseFile,
        policy: StallPolicy,
        on_bytes: Callable[[int], None],
        *,
        in_one_piece: bool = False,
    ) -> None:
        self.in_one_piece = in_one_piece
        self.file, self.sparse, self.on_bytes = file, sparse, on_bytes
        self.queue, self.urgent = SegmentQueue(), SegmentQueue()
        self.segments: set[Segment] = set()
        """Those on their way."""
        self.is_open = False
        """True once rclone has looked the file up, so that many requests at once cost one each."""
        self.detached = False
        self.fault: BaseException | None = None
        self.refusals: dict[int, int] = {}
        """How often a request from an offset on brought nothing, by the offset."""
        self.received = 0
        self._stall = StallWatch(0, policy)
        self.changed = Changed()

    def want(self, spans: Iterable[Span], *, urgent: bool = False) -> None:
        """Add spans to what is wanted."""
        (self.urgent if urgent else self.queue).extend(spans)
        self.changed.notify()

    def next_segment(self, max_bytes: int, *, urgent: bool = False) -> Segment | None:
        """Take the next segment to request; the first one of a file is requested alone."""
        if not self.is_open and self.segments:
            return None
        queue = self.urgent if urgent else self.queue
        size = max_bytes if self.is_open else OPENING_BYTES
        span = queue.take(self.file.size if self.in_one_piece else size)
        if span is None:
            return None
        segment = Segment(self, *span, urgent=urgent)
        self.segments.add(segment)
        return segment

    def record(self, size: int) -> None:
        """Record bytes that have been written."""
        self.received += size
        self.on_bytes(size)

    def end(self, segment: Segment) -> None:
        """Take back a segment that is no longer on its way; what of it has not arrived is wanted again."""
        if segment in self.segments:
            self.segments.discard(segment)
            (self.urgent if segment.urgent else self.queue).put((segment.position, segment.end))
            self.changed.notify()

    def fail(self, fault: BaseException) -> None:
        """End the transfer with the first fault that is reported."""
        if self.fault is None:
            self.fault = fault
            for segment in self.segments:
                segment.scope.cancel()
            self.changed.notify()

    def tick(self) -> str:
        """Notice a file of which nothing arrives while it is requested; return why it counts as stalled, or ''."""
        return self._stall.tick(self.received) if self.segments else ""

    def _has_arrived(self, *, urgent_only: bool) -> bool:
        if urgent_only:
            return not self.urgent and not any(segment.urgent for segment in self.segments)
        return not (self.queue or self.urgent or self.segments)

    async def wait_until_arrived(self, *, urgent_only: bool = False) -> None:
        """Return once all wanted bytes are in the sparse file; raises the fault that ended it."""
        while True:
            changed = self.changed.next()
            if self.fault is not None:
                raise self.fault
            if self._has_arrived(urgent_only=urgent_only):
                return
            await changed.wait()

    async def wait_until_inactive(self) -> None:
        """Return once nothing is on its way."""
        while self.segments:
            await self.changed.wait()
