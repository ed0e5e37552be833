"""A published folder as pictures see it: which frames are there, and why others are not."""

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

FRAME = re.compile(r"frame_([0-9]{1,9})\.[A-Za-z0-9]+")
"""The name of the file of one frame."""


@dataclass(frozen=True)
class PublishedFolder:
    """One published performance; `frames` has the files of each camera with images, by frame number.

    `record` is None for a folder of an earlier tool: then nothing is known of what was wanted or lost.
    """

    path: Path
    name: str
    record: Record | None
    frames: dict[str, dict[int, Path]] = field(default_factory=dict)

    @property
    def end(self) -> int:
        """Return the last frame of any camera, -1 when there is none."""
        return max((frame for files in self.frames.values() for frame in files), default=-1)

    @property
    def verdict(self) -> str:
        """Return what the record says of completeness, "" when it does not."""
        return self.record.verdict if self.record else ""

    @cached_property
    def held(self) -> ReleasedContent | None:
        """Return what the release holds of this performance, None where that is not known."""
        record = self.record
        if record is None:
            return None
        return released_content_of(record.performance, [source.path for source in record.sources], record.cameras)

    def why_no_camera(self, camera: str) -> str:
        """Return why a camera has no images here, in a word or two."""
        record = self.record
        if record is None:
            return Absence.UNKNOWN.value
        if any(item.modality == "images" and item.camera == camera for item in record.left_out):
            return "broken"
        if "images" not in record.wanted_modalities:
            return Absence.NOT_WANTED.value
        return absence_of_camera(camera, self.held, record.wanted_cameras).value

    def why_no_frame(self, camera: str, frame: int) -> str:
        """Return why a camera that has images does not have this frame."""
        left_out = self.record.left_out if self.record else ()
        if any((item.modality, item.camera, item.frame) == ("images", camera, frame) for item in left_out):
            return "broken"
        return "missing"


def open_folder(path: Path) -> PublishedFolder:
    """Return a published folder; BadRequest when it is none."""
    if not path.is_dir():
        raise BadRequest(f"{path}: there is no such folder")
    marker = read_marker(path)
    if marker is None:
        hint = "give one performance's folder, such as subjects/0018/s1_all"
        raise BadRequest(f"{path} is no published performance (it has no marker); {hint}")
    if isinstance(marker, EarlierRecord):
        return PublishedFolder(path, f"{path.absolute().parent.name}/{path.absolute().name}", None, _frames(path))
    return PublishedFolder(path, f"{marker.subject}/{marker.performance}", marker, _frames(path))


def _frames(path: Path) -> dict[str, dict[int, Path]]:
    images = path / "images"
    found = {}
    for folder in sorted(images.iterdir()) if images.is_dir() else ():
        camera = folder.name.removeprefix(camera_folder(""))
        if is_camera(camera) and folder.name == camera_folder(camera) and folder.is_dir():
            files = {int(match[1]): each for each in folder.iterdir() if (match := FRAME.fullmatch(each.name))}
            found[camera] = dict(sorted(files.items()))
    return {camera: files for camera, files in found.items() if files}
