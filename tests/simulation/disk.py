"""The disks of a simulated site: what is free is counted, the names in the spool are real, and no byte is written.

Spool files are sparse files of their apparent size on a small real folder, so the code under test renames, removes
and finds them by itself; folders in output_dir hold their marker, and their bytes are counted here.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from rm360_async.budget import Space

_TEMP_DEVICE, _OUTPUT_DEVICE = 1, 2


class SimulatedDisk:
    """The port of the budget; `strangers` are bytes that other programs have on the disk of the spool."""

    def __init__(self, temp_dir: Path, output_dir: Path, capacity: int, output_capacity: int | None = None) -> None:
        self.temp_dir, self.output_dir = temp_dir, output_dir
        self.capacity, self.output_capacity = capacity, output_capacity
        self.strangers = 0
        self.folders: dict[Path, int] = {}
        """Bytes of the published folders."""
        self.staging: dict[Path, int] = {}
        """Bytes of the folders that are being written, or that a killed process left."""
        self._published_bytes = 0

    def space(self, path: Path) -> Space:
        """Return what is free on the disk of a path."""
        of_temp = self.temp_dir == path or self.temp_dir in path.parents
        separate = self.output_capacity is not None
        capacity = self.capacity if of_temp or self.output_capacity is None else self.output_capacity
        used = self.strangers if of_temp or not separate else 0
        if of_temp or not separate:
            used += self.spooled_bytes() + sum(self.files(self.temp_dir / "kept", ()).values())
        if not of_temp or not separate:
            used += self.output_bytes()
        device = _TEMP_DEVICE if of_temp or not separate else _OUTPUT_DEVICE
        return Space(device, max(0, capacity - used), None, capacity)

    def files(self, folder: Path, skip: Collection[Path]) -> dict[str, int]:
        """Return the bytes of every file in a folder, by path."""
        return dict(_sizes(folder, frozenset(map(str, skip))))

    def spooled_bytes(self) -> int:
        """Return the bytes in the spool, without what is in quarantine."""
        return sum(size for _, size in _sizes(self.temp_dir, frozenset()))

    def output_bytes(self) -> int:
        """Return the bytes in output_dir; staging folders that were removed count no longer."""
        for folder in [each for each in self.staging if not each.exists()]:
            del self.staging[folder]
        return self._published_bytes + sum(self.staging.values())

    def publish(self, staging: Path, final: Path, size: int) -> None:
        """Count a staging folder, which was renamed, as published; `size` includes what it shares with the old one."""
        self.remove(final)
        self.staging.pop(staging, None)
        self.folders[final] = size
        self._published_bytes += self.folders[final]

    def remove(self, final: Path) -> None:
        """Count a published folder no longer."""
        self._published_bytes -= self.folders.pop(final, 0)


def _sizes(folder: Path, skip: frozenset[str]) -> Iterator[tuple[str, int]]:
    """Yield path and apparent size of every file in a folder; folders below it are other matters."""
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    for entry in sorted(entries, key=lambda entry: entry.name):
        if entry.path not in skip and entry.is_file(follow_symlinks=False):
            yield entry.path, entry.stat(follow_symlinks=False).st_size
