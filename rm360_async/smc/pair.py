"""A performance's file, or its raw and anno files, as one source."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from rm360_async.smc.file import SmcFile
from rm360_async.system.sparse_file import SparseFile


class SmcPair:
    """The open files of one performance: images and audio are in raw, everything else in anno or else in raw."""

    def __init__(self, raw: Path | str | SparseFile | None, anno: Path | str | SparseFile | None = None) -> None:
        with ExitStack() as opened:
            self.raw = opened.enter_context(SmcFile(raw)) if raw is not None else None
            self.anno = opened.enter_context(SmcFile(anno)) if anno is not None else None
            self._opened = opened.pop_all()

    def __enter__(self) -> SmcPair:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    @property
    def files(self) -> tuple[SmcFile, ...]:
        """Return the files in the order in which everything but images and audio is looked up: anno, then raw."""
        return tuple(file for file in (self.anno, self.raw) if file is not None)

    def file_with(self, *parts: str) -> SmcFile | None:
        """Return the first file that has a group at the path."""
        return next((file for file in self.files if file.has(*parts)), None)

    def file_with_masks(self) -> SmcFile | None:
        """Return the first file in which any camera has masks."""
        return next((file for file in self.files if file.cameras.with_part("mask")), None)

    def has_any_group(self, names: Iterable[str]) -> bool:
        """Return True if any file has any of these groups at its root."""
        return any(self.file_with(name) is not None for name in names)

    def cameras_with_images(self) -> tuple[str, ...]:
        """Return the cameras that have images, in order; none if their list cannot be read."""
        return self.raw.cameras_with("color") if self.raw is not None else ()

    def all_cameras(self) -> tuple[str, ...]:
        """Return every camera that occurs anywhere in any file, in order."""
        return tuple(sorted({camera for file in self.files for camera in file.named_cameras()}))
