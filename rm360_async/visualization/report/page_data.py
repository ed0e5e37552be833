"""The data that the panels of one page draw, read once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from rm360_async.domain.cameras.calibration.check import Check, Matrices
from rm360_async.domain.cameras.calibration.checks import CalibrationResult, check_calibration
from rm360_async.domain.cameras.calibration.conventions import place_cameras
from rm360_async.domain.cameras.calibration.landmarks import Landmarks2d, ReprojectionErrors, measure_reprojection
from rm360_async.domain.cameras.rig import Array
from rm360_async.domain.check_status import CheckState
from rm360_async.domain.errors import BadRequest
from rm360_async.visualization.calibration_source import folder_calibration, folder_image_size
from rm360_async.visualization.published_folder import PublishedFolder, open_folder
from rm360_async.visualization.report.arrays import Landmarks, Sound, read_landmarks2d, read_landmarks3d, read_sound
from rm360_async.visualization.report.info_json import InfoJson, read_info_json
from rm360_async.visualization.report.inventory import Inventory, read_inventory

_PICTURE_WEIGHT, _LANDMARKS_WEIGHT = 100, 1
"""The page shows the frame with most pictures; landmarks decide between frames with as many."""


@dataclass(frozen=True)
class CameraParameters:
    """One camera as stored: K (3, 3) px, D (5,), RT (4, 4) m, taken in the stated convention."""

    K: Array
    D: Array
    RT: Array


@dataclass(frozen=True)
class PageData:
    """A folder and what was read of it; `size` is (height, width) of the images in pixels."""

    folder: PublishedFolder
    faces: bool
    """Whether pictures and landmarks are shown, or only silhouettes."""
    inventory: Inventory
    info: InfoJson
    cameras: dict[str, CameraParameters]
    size: tuple[int, int] | None
    calibration: CalibrationResult | None
    landmarks2d: dict[str, Landmarks]
    landmarks3d: Landmarks
    sound: Sound | None
    notes: tuple[str, ...]

    @cached_property
    def head(self) -> Array | None:
        """Return the point (3,) nearest to all optical axes, in the world as stored; None without calibration."""
        if not self.cameras:
            return None
        return place_cameras(np.stack([camera.RT for camera in self.cameras.values()])).head

    @cached_property
    def reprojection_errors(self) -> ReprojectionErrors | None:
        """Return how far the 3D landmarks fall from the 2D ones; None if no frame has both."""
        cameras = {
            camera: Landmarks2d(self.cameras[camera].K, self.cameras[camera].D, self.cameras[camera].RT, points)
            for camera, points in self.landmarks2d.items()
            if camera in self.cameras
        }
        return measure_reprojection(cameras, self.landmarks3d)

    @cached_property
    def frame(self) -> int:
        """Return the frame to show: the first of those that have most pictures and landmarks."""
        weights: Counter[int] = Counter()
        for files in self.folder.frames.values():
            weights.update(dict.fromkeys(files, _PICTURE_WEIGHT))
        for landmarks in (*self.landmarks2d.values(), self.landmarks3d):
            weights.update(dict.fromkeys(landmarks.keys() & weights.keys(), _LANDMARKS_WEIGHT))
        return min(weights, key=lambda frame: (-weights[frame], frame), default=0)

    def landmark_frame(self, camera: str) -> int | None:
        """Return the frame nearest to `frame` in which a camera has a picture and landmarks; None if there is none."""
        if camera not in self.cameras:
            return None
        frames = self.landmarks2d.get(camera, {}).keys() & self.folder.frames.get(camera, {}).keys()
        with_both = frames & self.landmarks3d.keys()
        return min(with_both, key=lambda frame: (abs(frame - self.frame), frame), default=None)


def read_page_data(path: Path, *, faces: bool) -> PageData:
    """Return what the page of a published folder needs; raise BadRequest if the path is not one."""
    folder = open_folder(path)
    notes: list[str] = []
    result, stored = _read_calibration(folder, notes)
    cameras = {
        camera: CameraParameters(*(np.asarray(stored[camera][key], np.float64) for key in ("K", "D", "RT")))
        for camera in (result.matrices if result else ())
    }
    performance = folder.performance
    info, inventory = read_info_json(performance), read_inventory(folder)
    landmarks2d, landmarks3d = read_landmarks2d(performance, notes), read_landmarks3d(performance, notes)
    sound = read_sound(performance, notes)
    notes += [problem for problem in (info.problem, inventory.problem) if problem]
    return PageData(
        folder,
        faces,
        inventory,
        info,
        cameras,
        folder_image_size(folder),
        result,
        landmarks2d,
        landmarks3d,
        sound,
        tuple(notes),
    )


def _read_calibration(
    folder: PublishedFolder, notes: list[str]
) -> tuple[CalibrationResult | None, dict[str, Matrices]]:
    """Return the checks of the calibration, and the matrices as stored; add a note if there is none."""
    try:
        source = folder_calibration(folder)
    except BadRequest as error:
        notes += error.problems
        return None, {}
    return check_calibration(source.cameras, source.size, folder.frames), source.cameras


def missing_calibration_check(data: PageData) -> Check:
    """Return the check of a folder that has no calibration: it failed if the calibration was lost."""
    loss = next((message for check, message in data.info.findings if "calibration" in message), "")
    state = CheckState.FAIL if loss else CheckState.UNCHECKED
    return Check("calibration", state, loss or "this folder has no calibration")
