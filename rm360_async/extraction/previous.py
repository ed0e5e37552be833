"""The published folder that is added to: its files are taken over, not read from the source again.

A file is taken over only when it was published whole: it is in the folder's list and has its size there, and
nothing of its camera and modality was left out or is missing. Everything else is read as if it were new.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rm360_async.domain.names import Modality, camera_folder
from rm360_async.domain.record import Record
from rm360_async.store.file_list import FILE_LIST, ListedFile, read_files
from rm360_async.store.marker import read_marker


@dataclass(frozen=True)
class ReusedFile:
    """A published file: its place, and what the folder's list says of it."""

    path: Path
    listed: ListedFile


class PreviousFolder:
    """What a published folder has."""

    def __init__(self, folder: Path, record: Record, listed: Iterable[ListedFile]) -> None:
        self.folder, self.record = folder, record
        self._kept: dict[str, ReusedFile] = {}
        self._spoiled = {(item.modality, item.camera) for item in record.left_out}
        for file in listed:
            if _has_size(folder / file.path, file.size):
                self._kept[str(PurePosixPath(file.path).with_suffix(""))] = ReusedFile(folder / file.path, file)
            else:
                self._spoiled.add(_whose(file.path))

    @classmethod
    def of(cls, folder: str | None) -> PreviousFolder | None:
        """Return what a folder has; None for none, and for one whose marker or list is not ours or damaged."""
        record = read_marker(Path(folder)) if folder is not None else None
        if folder is None or not isinstance(record, Record) or not (Path(folder) / FILE_LIST).is_file():
            return None
        try:
            return cls(Path(folder), record, read_files(Path(folder)))
        except (OSError, ValueError):  # what cannot be taken over is fetched: nothing is lost
            return None

    def cameras_of(self, every: Iterable[str]) -> set[str]:
        """Return which cameras were extracted into the folder."""
        wanted = self.record.wanted_cameras
        if isinstance(wanted, tuple):
            return set(wanted) & set(every)
        return set(every) if wanted == "all" else set(self.record.cameras)

    def has(self, modality: Modality, camera: str = "") -> bool:
        """Tell whether all of a modality (of a camera) was published and is still there."""
        if modality.value not in self.record.wanted_modalities or not self._spoiled.isdisjoint(
            {(modality.value, camera), (modality.value, "")}
        ):
            return False
        return not camera or camera in self.cameras_of([camera])

    def file(self, stem: str) -> ReusedFile | None:
        """Return the file of a path without its suffix, None when there is none."""
        return self._kept.get(stem)

    def files(self, modality: Modality) -> list[ReusedFile]:
        """Return all files of a modality."""
        return [kept for stem, kept in self._kept.items() if stem.startswith(f"{modality.value}/")]


def _has_size(path: Path, size: int) -> bool:
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == size


def _whose(relative: str) -> tuple[str, str]:
    """Return the modality and camera ("" for none) of a published file by its path."""
    modality, _, rest = relative.partition("/")
    first = PurePosixPath(rest.partition("/")[0]).stem
    camera = first.removeprefix("cam_")
    return modality, camera if camera_folder(camera) == first else ""
