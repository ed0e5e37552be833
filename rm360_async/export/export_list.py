"""The list of an export's files, written while they are found: a performance can have hundreds of thousands."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rm360_async.store.file_list import EXPORT_LIST, ListedFile, write_file_list
from rm360_async.system.hashing import hash_of_range


@dataclass
class FileTotals:
    """Files of an export's own, their bytes, and links to published files."""

    files: int = 0
    bytes: int = 0
    links: int = 0

    def add(self, file: ListedFile) -> None:
        """Count one file."""
        if file.hash is None:
            self.links += 1
        else:
            self.files += 1
            self.bytes += file.size


def write_export_list(staging: Path) -> FileTotals:
    """List every file of a new export in it, and return how many there are.

    Links, hard or soft, have no hash, since their bytes are published ones.
    """
    totals = FileTotals()
    with (staging / EXPORT_LIST).open("x", encoding="utf-8", newline="") as target:
        write_file_list(target, _counted(staging, totals))
    return totals


def _counted(staging: Path, totals: FileTotals) -> Iterator[ListedFile]:
    for entry in _entries_below(staging):
        path, state = entry.path.removeprefix(f"{staging}/"), entry.stat()
        if path != EXPORT_LIST:
            is_link = entry.is_symlink() or state.st_nlink > 1
            file = ListedFile(path, state.st_size, None if is_link else _hash(entry.path, state.st_size))
            totals.add(file)
            yield file


def _entries_below(folder: str | Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _entries_below(entry.path)
            else:
                yield entry


def _hash(path: str, size: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return hash_of_range(descriptor, 0, size)
    finally:
        os.close(descriptor)
