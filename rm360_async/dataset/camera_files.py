"""The files of one kind of picture in a published folder: `images/cam_25/frame_000012.jpg`, and those of masks."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from rm360_async.dataset.errors import MissingData
from rm360_async.domain.names import camera_folder, camera_id, is_camera

FRAME_FILE = re.compile(r"frame_([0-9]{1,9})\.[A-Za-z0-9]+")
"""The name of the file of one frame."""
_MAX_IDS_SHOWN = 8


class CameraFiles:
    """The files below `<folder>/<kind>/`, listed camera by camera when first needed; `name` is for messages."""

    def __init__(self, folder: Path, kind: str, name: str) -> None:
        self.folder, self.kind, self.name = folder / kind, kind, name
        self._cameras: tuple[str, ...] | None = None
        self._files: dict[str, Mapping[int, str]] = {}

    @property
    def cameras(self) -> tuple[str, ...]:
        """Return the ids of the cameras that have a folder here, in order."""
        if self._cameras is None:
            names = sorted(names_in(self.folder))
            ids = ((name, name.removeprefix(camera_folder(""))) for name in names)
            self._cameras = tuple(
                camera
                for name, camera in ids
                if name == camera_folder(camera) and is_camera(camera) and (self.folder / name).is_dir()
            )
        return self._cameras

    def frames(self, camera: str | int) -> Mapping[int, str]:
        """Return the name of the file of each frame of a camera, in order; empty for an absent camera."""
        key = checked_camera(camera)
        if key not in self._files:
            names = names_in(self.folder / camera_folder(key))
            numbered = ((int(match[1]), name) for name in names if (match := FRAME_FILE.fullmatch(name)))
            self._files[key] = dict(sorted(numbered))
        return self._files[key]

    def path(self, camera: str | int, frame: int) -> Path:
        """Return the path of the file of one frame. Raises MissingData."""
        files = self.frames(camera)
        if frame not in files:
            raise MissingData(self._absence(checked_camera(camera), frame, files))
        return Path(self.folder, camera_folder(checked_camera(camera)), files[frame])

    def _absence(self, camera: str, frame: int, files: Mapping[int, str]) -> str:
        if not files:
            known = ", ".join(self.cameras[:_MAX_IDS_SHOWN]) or "none"
            return f"{self.name} has no {self.kind} of camera {camera} (cameras with {self.kind}: {known})"
        span = f"its {len(files)} frames are from {min(files)} to {max(files)}"
        hole = ", and this one is a hole" if min(files) < frame < max(files) else ""
        return f"{self.name} has no {self.kind.removesuffix('s')} of camera {camera}, frame {frame}: {span}{hole}"


def checked_camera(camera: str | int) -> str:
    """Return a camera's two-digit id; raise MissingData for what is none."""
    try:
        return camera_id(camera)
    except ValueError as error:
        raise MissingData(str(error)) from error


def names_in(folder: Path) -> list[str]:
    """Return the names in a folder, none if it does not exist; by scandir, since there may be thousands."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return []
