"""The previously published folder of a performance: its files are reused instead of read from the source again.

A file is reused only if it was published whole: the folder's list of files has it with the size that it has on
disk, and nothing of its modality and camera was left out or is missing. Everything else is extracted as if it were
new.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from rm360_async.domain.names import Modality, camera_folder
from rm360_async.domain.record import Record
from rm360_async.domain.terms import ALL
from rm360_async.store.file_list import FILE_LIST, ListedFile, read_file_list
from rm360_async.store.marker import read_marker


@dataclass(frozen=True)
class ReusedFile:
    """A published file: its path, and its entry in the folder's list of files."""

    path: Path
    listed: ListedFile


class PreviousFolder:
    """The reusable files of a published folder."""

    def __init__(self, folder: Path, record: Record, listed: Iterable[ListedFile]) -> None:
        self.folder, self.record = folder, record
        self._files: list[ReusedFile] = []
        self._incomplete = {(item.modality, item.camera) for item in record.left_out}
        for file in listed:
            if _has_size(folder / file.path, file.size):
                self._files.append(ReusedFile(folder / file.path, file))
            else:
                self._incomplete.add(_modality_and_camera(file.path))
        self._by_stem = {str(PurePosixPath(file.listed.path).with_suffix("")): file for file in self._files}

    @classmethod
    def of(cls, folder: str | None) -> PreviousFolder | None:
        """Return the previous folder at a path; None without one, or when its marker or list of files is unusable."""
        record = read_marker(Path(folder)) if folder is not None else None
        if folder is None or not isinstance(record, Record) or not (Path(folder) / FILE_LIST).is_file():
            return None
        try:
            return cls(Path(folder), record, read_file_list(Path(folder)))
        except (OSError, ValueError):  # nothing is lost: what cannot be reused is downloaded again
            return None

    def cameras_among(self, cameras: Iterable[str]) -> set[str]:
        """Return those of `cameras` that were extracted into the folder."""
        wanted = self.record.wanted_cameras
        if isinstance(wanted, tuple):
            return set(wanted) & set(cameras)
        if wanted == ALL:
            return set(cameras)
        return {*self.record.cameras, *self.record.resolved_cameras}

    def has(self, modality: Modality, camera: str = "") -> bool:
        """Return True if all of a modality (of a camera) was published and is still there."""
        if modality.value not in self.record.wanted_modalities or not self._incomplete.isdisjoint(
            {(modality.value, camera), (modality.value, "")}
        ):
            return False
        return not camera or camera in self.cameras_among([camera])

    def file(self, stem: str) -> ReusedFile | None:
        """Return the file at a path without its suffix, None when there is none."""
        return self._by_stem.get(stem)

    def files(self, modality: Modality) -> list[ReusedFile]:
        """Return all files of a modality."""
        return [file for file in self._files if file.listed.path.startswith(f"{modality.value}/")]


def _has_size(path: Path, size: int) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == size


def _modality_and_camera(relative: str) -> tuple[str, str]:
    """Return the modality and camera ("" for none) of a published file by its path."""
    modality, _, rest = relative.partition("/")
    first = PurePosixPath(rest.partition("/")[0]).stem
    camera = first.removeprefix("cam_")
    return modality, camera if camera_folder(camera) == first else ""
