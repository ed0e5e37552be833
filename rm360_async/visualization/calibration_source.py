"""The calibration of a published folder or of an .smc, and the cameras that have images there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rm360_async.dataset import DamagedData, MissingData
from rm360_async.domain.cameras.calibration.check import Matrices
from rm360_async.domain.cameras.rig import rig
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.release import Absence
from rm360_async.smc import SmcFile, UnreadableData, read_calibration, read_image_size
from rm360_async.system.sparse_file import SparseFile
from rm360_async.visualization.published_folder import PublishedFolder, open_folder


@dataclass(frozen=True)
class CalibrationSource:
    """What `cameras analyze` needs; `size` is (height, width) in pixels, None if there is no picture.

    `with_images` are the cameras with images, `available` those that the release has and that were not wanted.
    """

    name: str
    cameras: dict[str, Matrices]
    size: tuple[int, int] | None
    with_images: tuple[str, ...]
    available: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_calibration_source(path: Path) -> CalibrationSource:
    """Return the calibration of a published folder or an .smc; raise BadRequest if it cannot be read."""
    if not path.exists():
        raise BadRequest(f"{path}: there is no such file or folder; check it")
    return folder_calibration(open_folder(path)) if path.is_dir() else smc_calibration(path, path.name)


def folder_calibration(folder: PublishedFolder) -> CalibrationSource:
    """Return the calibration of a published folder; raise BadRequest if it cannot be read."""
    try:
        cameras: dict[str, Matrices] = dict(folder.performance.calibration)
    except MissingData:
        hint = "extract it with modality calibration, or analyze the .smc itself"
        raise BadRequest(f"{folder.path} has no calibration/cameras.json; {hint}") from None
    except DamagedData as error:
        raise BadRequest(str(error)) from error
    without_images = (camera for camera in rig() if camera not in folder.frames)
    available = tuple(camera for camera in without_images if folder.camera_absence(camera) == Absence.NOT_WANTED.value)
    notes = (f"verdict of the folder: {folder.verdict}",) if folder.verdict else ()
    return CalibrationSource(folder.name, cameras, folder_image_size(folder), tuple(folder.frames), available, notes)


def folder_image_size(folder: PublishedFolder) -> tuple[int, int] | None:
    """Return (height, width) in pixels of the first picture whose header can be read; None if there is none."""
    size = folder.performance.picture_size
    return None if size is None else (size[1], size[0])


def smc_calibration(path: Path | SparseFile, name: str) -> CalibrationSource:
    """Return the calibration of an .smc; raise BadRequest if it holds none that can be read."""
    with SmcFile(path) as file:
        try:
            stored, unreadable = read_calibration(file)
        except UnreadableData as error:
            raise BadRequest(f"{name} has no readable calibration: {error.reason}") from error
        if not stored and not unreadable:
            hint = "in the 21-subject release it is in the anno file of the pair"
            raise BadRequest(f"{name} holds no calibration; {hint}")
        cameras: dict[str, Matrices] = {
            camera: {"K": matrices.K, "D": matrices.D, "RT": matrices.RT} for camera, matrices in stored.items()
        }
        size = read_image_size(file) or read_image_size(file, "mask")
        with_images = file.cameras_with("color") or file.cameras_with("mask")
    notes = tuple(f"calibration of camera {camera or '?'}: {reason}" for camera, reason in unreadable.items())
    return CalibrationSource(name, cameras, size, with_images, (), notes)
