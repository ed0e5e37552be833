"""A published folder with its images: which frames it has, and why others are absent."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rm360_async.dataset import PublishedPerformance, open_performance
from rm360_async.domain.record import Record
from rm360_async.domain.release import Absence, ReleasedContent, absence_of_camera, released_content_of

BROKEN, MISSING = "broken", "missing"
LOSS_REASONS = (Absence.LOST.value, BROKEN, MISSING)
"""Reasons for having no picture that are losses, and neither a choice nor a property of the release."""


@dataclass(frozen=True)
class PublishedFolder:
    """One published performance for pictures of it, read through `rm360_async.dataset`."""

    performance: PublishedPerformance

    @property
    def path(self) -> Path:
        """Return the path of the folder."""
        return self.performance.folder

    @property
    def name(self) -> str:
        """Return subject and performance, "0018/s1_all"."""
        return self.performance.name

    @property
    def record(self) -> Record | None:
        """Return what the marker says; None for a folder of an earlier tool: it is unknown what was wanted or lost."""
        return self.performance.record

    @cached_property
    def frames(self) -> dict[str, dict[int, Path]]:
        """Return the files of each camera with images, by frame number."""
        performance = self.performance
        frames = {
            camera: {frame: performance.image_path(camera, frame) for frame in performance.frames(camera)}
            for camera in performance.picture_cameras
        }
        return {camera: files for camera, files in frames.items() if files}

    @property
    def last_frame(self) -> int:
        """Return the last frame of any camera, -1 if there is none."""
        return max(self.performance.all_frames, default=-1)

    @property
    def verdict(self) -> str:
        """Return how complete the folder is, as its record says; "" if the record does not."""
        return self.record.verdict if self.record else ""

    @property
    def fps(self) -> float | None:
        """Return the frames a second, None if that is unknown."""
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
    return PublishedFolder(open_performance(path))
