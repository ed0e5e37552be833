"""Everything that the panels of one page draw on, read once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from rm360_async.domain.cameras.calibration.check import Check
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


@dataclass(frozen=True)
class CameraParameters:
    """One camera as it is stored: K (3, 3) px, D (5,), RT (4, 4) m, read as the convention says."""

    K: Array
    D: Array
    RT: Array


@dataclass(frozen=True)
class PageData:
    """A folder and what was read of it; `size` is (height, width) of the images in pixels."""

    folder: PublishedFolder
    faces: bool
    inventory: Inventory
    told: InfoJson
    lenses: dict[str, CameraParameters]
    size: tuple[int, int] | None
    calibration: CalibrationResult | None
    landmarks2d: dict[str, Landmarks]
    landmarks3d: Landmarks
    sound: Sound | None
    notes: tuple[str, ...]

    @cached_property
    def head(self) -> Array | None:
        """Return the point (3,) nearest to all optical axes, in the world as stored; None without calibration."""
        if not self.lenses:
            return None
        return place_cameras(np.stack([lens.RT for lens in self.lenses.values()])).head

    @cached_property
    def reprojection(self) -> ReprojectionErrors | None:
        """Return how far the 3D landmarks fall from the 2D ones."""
        cameras = {
            camera: Landmarks2d(self.lenses[camera].K, self.lenses[camera].D, self.lenses[camera].RT, points)
            for camera, points in self.landmarks2d.items()
            if camera in self.lenses
        }
        return measure_reprojection(cameras, self.landmarks3d)

    @cached_property
    def frame(self) -> int:
        """Return the frame to show: the first of those that have most pictures and landmarks."""
        counts: dict[int, int] = {}
        for files in self.folder.frames.values():
            for frame in files:
                counts[frame] = counts.get(frame, 0) + 100
        for landmarks in (*self.landmarks2d.values(), self.landmarks3d):
            for frame in landmarks.keys() & counts.keys():
                counts[frame] += 1
        return min(counts, key=lambda frame: (-counts[frame], frame), default=0)

    def close_frame(self, camera: str) -> int | None:
        """Return the frame of a camera to show with its landmarks: the nearest to the frame to show that has them."""
        known = self.landmarks2d.get(camera, {}).keys() & self.folder.frames.get(camera, {}).keys()
        both = known & self.landmarks3d.keys() if camera in self.lenses else ()
        return min(both, key=lambda frame: (abs(frame - self.frame), frame), default=None)


def read_page_data(path: Path, *, faces: bool) -> PageData:
    """Return what the page of a published folder needs; BadRequest when it is none."""
    folder = open_folder(path)
    notes: list[str] = []
    try:
        calibrated = folder_calibration(folder)
        report = check_calibration(calibrated.cameras, calibrated.size, folder.frames)
        cameras = calibrated.cameras
    except BadRequest as error:
        report, cameras = None, {}
        notes += error.problems
    usable = report.matrices.keys() if report else ()
    lenses = {
        camera: CameraParameters(*(np.asarray(cameras[camera][key], np.float64) for key in ("K", "D", "RT")))
        for camera in usable
    }
    told, inventory = read_info_json(path), read_inventory(folder)
    landmarks2d, landmarks3d = read_landmarks2d(path, notes), read_landmarks3d(path, notes)
    sound = read_sound(path, notes)
    notes += [text for text in (told.trouble, inventory.trouble) if text]
    return PageData(
        folder,
        faces,
        inventory,
        told,
        lenses,
        folder_image_size(folder),
        report,
        landmarks2d,
        landmarks3d,
        sound,
        tuple(notes),
    )


def no_calibration(material: PageData) -> Check:
    """Return the check of a folder that has no calibration."""
    lost = next((what for check, what in material.told.findings if "calibration" in what), "")
    state = CheckState.FAIL if lost else CheckState.UNCHECKED
    return Check("calibration", state, lost or "this folder has no calibration")
