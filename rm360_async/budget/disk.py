"""The free space of a file system, and the space that files take on it."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

BLOCK_BYTES = 512
"""st_blocks counts units of 512 bytes whatever the file system's block is (stat(2))."""


@dataclass(frozen=True)
class Space:
    """One file system: its device number, what is free for this user, and its size.

    `free_files` is None if the number of files has no limit.
    """

    device: int
    free_bytes: int
    free_files: int | None
    total_bytes: int


class Disk(Protocol):
    """What a budget needs to know of disks; tests simulate it without a full disk."""

    def space(self, path: Path) -> Space:
        """Return the file system of a path, or of its nearest parent that exists."""

    def files(self, folder: Path, skip: Collection[Path]) -> dict[str, int]:
        """Return the allocated bytes of every file below a folder, by path, without the folders in `skip`."""


class SystemDisk:
    """The disks of the operating system."""

    def space(self, path: Path) -> Space:
        """Return the file system of a path; only what an ordinary user may use counts as free.

        File systems that make inodes as they need them report none at all (f_files 0).
        """
        while not path.exists() and path != path.parent:
            path = path.parent
        stat = os.statvfs(path)
        free_files = stat.f_favail if stat.f_files else None
        return Space(path.stat().st_dev, stat.f_bavail * stat.f_frsize, free_files, stat.f_blocks * stat.f_frsize)

    def files(self, folder: Path, skip: Collection[Path]) -> dict[str, int]:
        """Return the allocated bytes of every file below a folder; symbolic links are not followed."""
        return dict(_walk(str(folder), frozenset(map(str, skip))))


def _walk(folder: str, skip: frozenset[str]) -> Iterator[tuple[str, int]]:
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    for entry in entries:
        if entry.path in skip:
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, skip)
            continue
        try:
            yield entry.path, entry.stat(follow_symlinks=False).st_blocks * BLOCK_BYTES
        except FileNotFoundError:  # removed or renamed by another task meanwhile
            continue
