"""Copy checked blobs to files by two threads, while the caller's thread reads the index.

HDF5 is used by one thread only: the one that pulls blobs out of the items. The threads check and copy, which
is kernel work. Two are as quick as four, and the batches in flight are bounded in items and in bytes, so
memory stays flat whatever the file. A blob's bytes are read once for its check, its hash and its copy: they must
be read for the hash anyway, and then `write` costs half of what `copy_file_range` does (0.10 and 0.22 ms a frame).
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import TracebackType

from rm360_async.errors import Cause, Fault
from rm360_async.modalities.base import Kept
from rm360_async.package import StagingFolder
from rm360_async.smc import Blob, Refusal, check

OnProgress = Callable[[int, int], None]

_THREADS = 2
_BATCH = 64
_BATCH_BYTES = 16 * 2**20
_IN_FLIGHT = 4
_IN_MEMORY = 4 * 2**20
"""Bytes: a larger blob, which no frame is, is copied by the kernel."""


@dataclass(frozen=True)
class Item:
    """One blob to copy: whose it is, and its file below the staging folder without the suffix."""

    camera: str
    frame: int | None
    stem: str
    blob: Blob | Refusal | Kept


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
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="copy")

    def __enter__(self) -> Copier:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)

    def run(self, items: Iterable[Item]) -> Iterator[Copied]:
        """Yield what became of each item, in order; the first Fault of a thread ends it."""
        flying: deque[Future[list[Copied]]] = deque()
        for batch in _batches(items):
            flying.append(self._threads.submit(self._copy_batch, batch))
            if len(flying) > _IN_FLIGHT:
                yield from self._landed(flying.popleft())
        while flying:
            yield from self._landed(flying.popleft())

    def require_room(self, size: int) -> None:
        """Raise Fault(DAMAGED) when `size` more bytes are more than this source can rightly give."""
        if self._folder.bytes + size > self._most_bytes:
            raise Fault(
                Cause.DAMAGED,
                f"the .smc unpacks to more than {self._most_bytes / 2**20:.0f} MB, out of all proportion to its size",
                "it names the same data many times, or is packed to harm: tell its owner",
            )

    def progress(self) -> None:
        """Tell how many files and bytes are written so far."""
        self._on_progress(self._folder.files, self._folder.bytes)

    def _landed(self, batch: Future[list[Copied]]) -> list[Copied]:
        copied = batch.result()
        self.progress()
        return copied

    def _copy_batch(self, batch: list[Item]) -> list[Copied]:
        return [Copied(item.camera, item.frame, self._copy(item)) for item in batch]

    def _copy(self, item: Item) -> str | None:
        """Check and write one blob; return why it was left out, None when it was written."""
        if isinstance(item.blob, Refusal):
            return item.blob.reason
        if isinstance(item.blob, Kept):
            self._folder.link(item.blob.path, item.blob.listed)
            return None
        try:
            blob = item.blob
            if blob.size <= _IN_MEMORY and blob.data is None:
                blob = replace(blob, data=blob.read())
            relative = item.stem + check(blob).suffix
            self.require_room(blob.size)
            if blob.data is not None:
                self._folder.write(relative, blob.data)
            else:
                self._folder.copy(relative, blob.descriptor, blob.offset, blob.size)
        except Refusal as refusal:
            return refusal.reason
        except EOFError as error:
            raise Fault(Cause.UNKNOWN, f"{item.stem} cannot be copied: {error}") from error
        except OSError as error:
            raise Fault(Cause.UNKNOWN, f"the .smc cannot be read at {item.stem}: {error.strerror}") from error
        return None


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    batch: list[Item] = []
    size = 0
    for item in items:
        batch.append(item)
        size += item.blob.size if isinstance(item.blob, Blob) else 0
        if len(batch) >= _BATCH or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
