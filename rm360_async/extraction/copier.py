"""Take pictures over into the staging folder: batches for the copying processes, the rest done here.

Batches are bounded in items and in bytes, and so are those that are underway: memory stays flat whatever the file.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType

from rm360_async.domain.errors import Cause, Fault
from rm360_async.extraction.copy_processes import Copiers, CopyResult, Task, copy_blob
from rm360_async.extraction.previous import ReusedFile
from rm360_async.smc import Blob, UnreadableData
from rm360_async.store.file_list import ListedFile
from rm360_async.store.staging import StagingFolder

OnProgress = Callable[[int, int], None]

_BATCH = 64
_BATCH_BYTES = 16 * 2**20
_UNDERWAY = 4


@dataclass(frozen=True)
class Item:
    """One blob to copy: whose it is, and its file below the staging folder without the suffix."""

    camera: str
    frame: int | None
    stem: str
    blob: Blob | UnreadableData | ReusedFile

    @property
    def size(self) -> int:
        """Return the bytes that are to be read."""
        return self.blob.size if isinstance(self.blob, Blob) else 0

    @cached_property  # asked for several times, of every picture
    def task(self) -> Task | None:
        """Return what a copying process can do: copy bytes that lie in one piece in the file."""
        blob = self.blob
        return (self.stem, blob) if isinstance(blob, Blob) and blob.data is None and blob.lacking is None else None


@dataclass(frozen=True)
class Copied:
    """What became of an item: `refused` is None when it was written."""

    camera: str
    frame: int | None
    refused: str | None


class Copier:
    """Copies items into a staging folder; a context manager.

    `most_bytes` bounds all that is written: a small file can name one picture a thousand times, or unpack to
    terabytes, and the disk that was leased for it is a fixed one.
    """

    def __init__(self, folder: StagingFolder, on_progress: OnProgress, most_bytes: int = sys.maxsize) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._on_progress = on_progress
        self._copiers = Copiers(folder.new)
        self._underway = 0

    def __enter__(self) -> Copier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._copiers.stop()

    def run(self, items: Iterable[Item]) -> Iterator[Copied]:
        """Yield what became of each item, in order; the first Fault ends it."""
        underway: deque[list[Item]] = deque()
        try:
            for batch in _batches(items):
                self._send(batch)
                underway.append(batch)
                if len(underway) > _UNDERWAY:
                    yield from self._landed(underway.popleft())
        except UnreadableData:  # the index breaks off: what is underway belongs to nobody else
            for batch in underway:
                deque(self._landed(batch), maxlen=0)
            raise
        while underway:
            yield from self._landed(underway.popleft())

    def require_room(self, size: int) -> None:
        """Raise Fault(DAMAGED) when `size` more bytes are more than this source can rightly give."""
        if self._folder.bytes + self._underway + size > self._most_bytes:
            raise Fault(
                Cause.DAMAGED,
                f"the .smc unpacks to more than {self._most_bytes / 2**20:.0f} MB, out of all proportion to its size",
                "it names the same data many times, or is packed to harm: tell its owner",
            )

    def progress(self) -> None:
        """Tell how many files and bytes are written so far."""
        self._on_progress(self._folder.files, self._folder.bytes)

    def _send(self, batch: list[Item]) -> None:
        size = sum(item.size for item in batch)
        self.require_room(size)
        self._underway += size
        tasks = [item.task for item in batch if item.task]
        if tasks:
            self._copiers.send(tasks)

    def _landed(self, batch: list[Item]) -> Iterator[Copied]:
        outcomes = iter(self._copiers.take() if any(item.task for item in batch) else ())
        for item in batch:
            outcome = next(outcomes) if item.task else self._done_here(item)
            if isinstance(outcome, ListedFile):
                self._folder.note(outcome)
            yield Copied(item.camera, item.frame, outcome if isinstance(outcome, str) else None)
        self._underway -= sum(item.size for item in batch)
        self.progress()

    def _done_here(self, item: Item) -> CopyResult | None:
        """Do what needs more than a range of the file: what was published before, or came through HDF5."""
        if isinstance(item.blob, UnreadableData):
            return item.blob.reason
        if isinstance(item.blob, ReusedFile):
            self._folder.link(item.blob.path, item.blob.listed)
            return None
        return copy_blob(item.stem, item.blob, self._folder.new, memoryview(b""))


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    batch: list[Item] = []
    size = 0
    for item in items:
        batch.append(item)
        size += item.size
        if len(batch) >= _BATCH or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
