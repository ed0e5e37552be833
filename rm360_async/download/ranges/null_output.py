"""Stand-ins for the extraction's output: they take everything and keep nothing, because only its reads matter."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from rm360_async.extraction.copier import CopiedItem, FinishTask, Item
from rm360_async.extraction.forks import TaskFunction
from rm360_async.smc import Blob, UnreadableData
from rm360_async.store.file_list import ListedFile

OnBlob = Callable[[Blob], None]


class _NullFile(io.RawIOBase):
    """A file that discards what is written."""

    def __init__(self) -> None:
        self._position = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        size = memoryview(data).nbytes  # type: ignore[arg-type]
        self._position += size
        return size

    def tell(self) -> int:
        return self._position


class NullFolder:
    """A staging folder that discards what is written."""

    path = Path(os.devnull)

    def write(self, relative: str, data: bytes) -> None:
        """Discard the content of a new file."""

    def link(self, source: Path, listed: ListedFile) -> None:
        """Take over nothing."""

    @contextmanager
    def open(self, relative: str) -> Iterator[IO[bytes]]:
        """Yield a file that discards what is written."""
        yield _NullFile()  # type: ignore[misc]


class NullCopier:
    """A copier that copies no image: that it was located is enough. `on_blob` sees each that lies in one piece."""

    def __init__(self, on_blob: OnBlob | None) -> None:
        self._on_blob = on_blob

    def run(self, items: Iterable[Item]) -> Iterator[CopiedItem]:
        """Yield each image as copied, or as refused where it cannot be read."""
        for item in items:
            refused = item.blob.reason if isinstance(item.blob, UnreadableData) else None
            if self._on_blob is not None and isinstance(item.blob, Blob) and item.blob.data is None:
                self._on_blob(item.blob)
            yield CopiedItem(item.camera, item.frame, refused)

    def start_task(self, name: str, function: TaskFunction) -> FinishTask:
        """Start nothing: what the task would write was read before."""
        return lambda: (0, [])

    def require_space(self, size: int) -> None:
        """Pass: nothing is written."""

    def report_progress(self) -> None:
        """Report nothing."""
