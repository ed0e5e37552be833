"""Copy stored files into the staging folder: batches in the copy processes, the rest in this process.

Batches are bounded in items and in bytes, and so is the number in flight, so memory stays flat for any source.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from types import TracebackType

from rm360_async.domain.errors import Cause, Fault
from rm360_async.extraction.copy_processes import CopyProcesses, CopyResult, CopyTask, copy_blob
from rm360_async.extraction.forks import ForkedTask, ForkRefused, TaskFunction
from rm360_async.extraction.previous import ReusedFile
from rm360_async.smc import Blob, UnreadableData
from rm360_async.store.file_list import ListedFile
from rm360_async.store.staging import StagingFolder

OnProgress = Callable[[int, int], None]
FinishTask = Callable[[], tuple[int, list[str]]]
"""Waits for a task; returns the number of files that it wrote, and its notes."""

_MAX_BATCH_ITEMS = 64
_MAX_BATCH_BYTES = 16 * 2**20
_MAX_BATCHES_IN_FLIGHT = 4


@dataclass(frozen=True)
class Item:
    """One file to copy: its camera ("" for none), its frame, its path in the folder without suffix, and its source."""

    camera: str
    frame: int | None
    stem: str
    blob: Blob | UnreadableData | ReusedFile

    @property
    def size(self) -> int:
        """Return the bytes to read."""
        return self.blob.size if isinstance(self.blob, Blob) else 0

    @cached_property  # used several times for every image
    def task(self) -> CopyTask | None:
        """Return the task for a copy process; None unless the bytes lie in one piece in the file."""
        blob = self.blob
        return (self.stem, blob) if isinstance(blob, Blob) and blob.data is None and blob.sparse is None else None


@dataclass(frozen=True)
class CopiedItem:
    """The result of an item: `refused` is None if it was written, else the reason."""

    camera: str
    frame: int | None
    refused: str | None


class Copier:
    """A context manager that copies items into a staging folder.

    `max_bytes` bounds all that is written. A small file can name one image a thousand times or unpack to terabytes,
    but the lease of disk space has a fixed size.
    """

    def __init__(self, folder: StagingFolder, on_progress: OnProgress, max_bytes: int = sys.maxsize) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._on_progress = on_progress
        self._processes = CopyProcesses(folder.writer)
        self._tasks: list[ForkedTask] = []
        self._bytes_in_flight = 0

    def __enter__(self) -> Copier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.stop()
        self._processes.stop()

    def run(self, items: Iterable[Item]) -> Iterator[CopiedItem]:
        """Yield the result of each item, in order. The first Fault ends it."""
        in_flight: deque[tuple[list[Item], bool]] = deque()
        try:
            for batch in _batches(items):
                in_flight.append((batch, self._send(batch)))
                if len(in_flight) > _MAX_BATCHES_IN_FLIGHT:
                    yield from self._receive(*in_flight.popleft())
        except UnreadableData:  # the index breaks off: receive what is in flight, so that the next run starts clean
            for sent_batch in in_flight:
                deque(self._receive(*sent_batch), maxlen=0)
            raise
        while in_flight:
            yield from self._receive(*in_flight.popleft())

    def start_task(self, name: str, function: TaskFunction) -> FinishTask:
        """Start a function that writes files, in a process beside the others; `name` says what it does.

        The returned function waits for its end, adds its files to the folder, and returns their number and the notes.
        It raises what ended the task. Where no further process is allowed, it does the work itself.
        """
        try:
            task = ForkedTask(name, function, self._folder.writer, self._processes.connections)
        except ForkRefused:
            return partial(self._do_task, function)
        self._tasks.append(task)

        def finish() -> tuple[int, list[str]]:
            files, notes = task.finish()
            for file in files:
                self._folder.add_file(file)
            return len(files), notes

        return finish

    def require_space(self, size: int) -> None:
        """Raise Fault(DAMAGED) if `size` more bytes are out of proportion to the source."""
        if self._folder.bytes + self._bytes_in_flight + size > self._max_bytes:
            raise Fault(
                Cause.DAMAGED,
                f"the .smc unpacks to more than {self._max_bytes / 2**20:.0f} MB, out of all proportion to its size",
                "it repeats the same data or is a decompression bomb; report it to its owner",
            )

    def report_progress(self) -> None:
        """Report the files and bytes written so far."""
        self._on_progress(self._folder.files, self._folder.bytes)

    def _do_task(self, function: TaskFunction) -> tuple[int, list[str]]:
        before = self._folder.files
        notes = function(self._folder.writer, self._folder.add_file)
        return self._folder.files - before, notes

    def _send(self, batch: list[Item]) -> bool:
        """Send a batch to a copy process; return False if nothing of it is copied there."""
        size = sum(item.size for item in batch)
        self.require_space(size)
        self._bytes_in_flight += size
        tasks = [item.task for item in batch if item.task]
        try:
            if tasks:
                self._processes.send(tasks)
        except ForkRefused:
            return False
        return bool(tasks)

    def _receive(self, batch: list[Item], was_sent: bool) -> Iterator[CopiedItem]:
        results = iter(self._processes.receive() if was_sent else ())
        for item in batch:
            result = next(results) if was_sent and item.task else self._copy_here(item)
            if isinstance(result, ListedFile):
                self._folder.add_file(result)
            yield CopiedItem(item.camera, item.frame, result if isinstance(result, str) else None)
        self._bytes_in_flight -= sum(item.size for item in batch)
        self.report_progress()

    def _copy_here(self, item: Item) -> CopyResult | None:
        """Copy in this process what is not one range of the file, or what no copy process could be started for."""
        if isinstance(item.blob, UnreadableData):
            return item.blob.reason
        if isinstance(item.blob, ReusedFile):
            self._folder.link(item.blob.path, item.blob.listed)
            return None
        return copy_blob(item.stem, item.blob, self._folder.writer, memoryview(b""))


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    batch: list[Item] = []
    size = 0
    for item in items:
        batch.append(item)
        size += item.size
        if len(batch) >= _MAX_BATCH_ITEMS or size >= _MAX_BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
