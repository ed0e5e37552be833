"""A published folder with its images: which frames it has, and why others are absent."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from rm360_async.domain.errors import BadRequest
from rm360_async.domain.names import camera_folder, is_camera
from rm360_async.domain.record import EarlierRecord, Record
from rm360_async.domain.release import Absence, ReleasedContent, absence_of_camera, released_content_of
from rm360_async.store.marker import read_marker

FRAME_FILE = re.compile(r"frame_([0-9]{1,9})\.[A-Za-z0-9]+")
"""The name of the file of one frame."""
BROKEN, MISSING = "broken", "missing"
LOSS_REASONS = (Absence.LOST.value, BROKEN, MISSING)
"""Reasons for having no picture that are losses, and neither a choice nor a property of the release."""


@dataclass(frozen=True)
class PublishedFolder:
    """One published performance; `frames` has the files of each camera with images, by frame number.

    `record` is None for a folder of an earlier tool: then it is unknown what was wanted or lost.
    """

    path: Path
    name: str
    record: Record | None
    frames: dict[str, dict[int, Path]] = field(default_factory=dict)

    @property
    def last_frame(self) -> int:
        """Return the last frame of any camera, -1 if there is none."""
        return max((frame for files in self.frames.values() for frame in files), default=-1)

    @property
    def verdict(self) -> str:
        """Return how complete the folder is, as its record says; "" if the record does not."""
        return self.record.verdict if self.record else ""

    @property
    def fps(self) -> float | None:
        """Return the frames a second that the record has, None if that is unknown."""
        return self.record.fps if self.record else None

    @cached_property
    def released(self) -> ReleasedContent | None:
        """Return what the release holds of this performance, None if that is unknown."""
        record = self.record
        if record is None:
            return None
        return released_content_of(record.performance, [source.path for source in record.sources], record.cameras)

    def camera_absence(self, camera: str) -> str:
        """Return in a word or two why a camera has no images here."""
        record = self.record
        if record is None:
            return Absence.UNKNOWN.value
        if any(item.modality == "images" and item.camera == camera for item in record.left_out):
            return BROKEN
        if "images" not in record.wanted_modalities:
            return Absence.NOT_WANTED.value
        return absence_of_camera(camera, self.released, record.wanted_cameras).value

    def frame_absence(self, camera: str, frame: int) -> str:
        """Return why a camera that has images lacks this frame."""
        left_out = self.record.left_out if self.record else ()
        is_broken = any((item.modality, item.camera, item.frame) == ("images", camera, frame) for item in left_out)
        return BROKEN if is_broken else MISSING


def open_folder(path: Path) -> PublishedFolder:
    """Return a published folder; raise BadRequest if the path is not one."""
    if not path.is_dir():
        raise BadRequest(f"{path}: there is no such folder")
    marker = read_marker(path)
    if marker is None:
        hint = "give one performance's folder, such as subjects/0018/s1_all"
        raise BadRequest(f"{path} is not a published performance (it has no marker); {hint}")
    frames = _frames_by_camera(path / "images")
    if isinstance(marker, EarlierRecord):
        absolute = path.absolute()
        return PublishedFolder(path, f"{absolute.parent.name}/{absolute.name}", None, frames)
    return PublishedFolder(path, f"{marker.subject}/{marker.performance}", marker, frames)


def _frames_by_camera(images: Path) -> dict[str, dict[int, Path]]:
    frames: dict[str, dict[int, Path]] = {}
    for folder in sorted(images.iterdir()) if images.is_dir() else ():
        camera = folder.name.removeprefix(camera_folder(""))
        if is_camera(camera) and folder.name == camera_folder(camera) and folder.is_dir():
            files = {int(match[1]): file for file in folder.iterdir() if (match := FRAME_FILE.fullmatch(file.name))}
            frames[camera] = dict(sorted(files.items()))
    return {camera: files for camera, files in frames.items() if files}
