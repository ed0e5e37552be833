"""The calibration of a published folder or of an .smc, and the cameras that have images beside it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rm360_async.domain.cameras.calibration.check import Matrices
from rm360_async.domain.cameras.rig import rig
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.release import Absence
from rm360_async.smc import Blob, SmcFile, UnreadableData, check, image_size, read_calibration
from rm360_async.system.sparse_file import SparseFile
from rm360_async.visualization.published_folder import PublishedFolder, open_folder

_HEADS = 20


@dataclass(frozen=True)
class CalibrationSource:
    """What `cameras analyze` looks at; `size` is (height, width) in pixels, None without a picture.

    `kept` are the cameras with images, `available` those that the release has and that were not wanted.
    """

    name: str
    cameras: dict[str, Matrices]
    size: tuple[int, int] | None
    kept: tuple[str, ...]
    available: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_calibration_source(path: Path) -> CalibrationSource:
    """Return the calibration of a published folder or an .smc; BadRequest when there is none to read."""
    if not path.exists():
        raise BadRequest(f"{path}: there is no such file or folder; check it")
    return folder_calibration(open_folder(path)) if path.is_dir() else smc_calibration(path, path.name)


def folder_calibration(folder: PublishedFolder) -> CalibrationSource:
    """Return the calibration of a published folder; BadRequest when there is none to read."""
    file = folder.path / "calibration" / "cameras.json"
    try:
        stored: Any = json.loads(file.read_text(encoding="utf-8"))["cameras"]
        cameras: dict[str, Matrices] = {camera: _numbers(stored[camera]) for camera in sorted(stored)}
    except FileNotFoundError:
        hint = "extract it with modality calibration, or analyze the .smc itself"
        raise BadRequest(f"{folder.path} has no calibration/cameras.json; {hint}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadRequest(f"{file} cannot be read as a calibration: {error or type(error).__name__}") from error
    not_wanted = (camera for camera in rig() if camera not in folder.frames)
    available = tuple(each for each in not_wanted if folder.why_no_camera(each) == Absence.NOT_WANTED.value)
    verdict = (f"verdict of the folder: {folder.verdict}",) if folder.verdict else ()
    return CalibrationSource(folder.name, cameras, folder_image_size(folder), tuple(folder.frames), available, verdict)


def _numbers(entry: dict[str, Any]) -> Matrices:
    """Return K, D and RT with what was not finite (null in JSON) as NaN."""
    return {key: np.array(entry[key], np.float64) for key in ("K", "D", "RT")}


def folder_image_size(folder: PublishedFolder) -> tuple[int, int] | None:
    """Return (height, width) in pixels of the first picture that can be read; None when there is none."""
    every = (path for files in folder.frames.values() for path in files.values())
    for path, _ in zip(every, range(_HEADS), strict=False):
        try:
            data = path.read_bytes()
            found = check(Blob(-1, 0, len(data), data))
        except (OSError, UnreadableData):
            continue
        if found.width:
            return found.height, found.width
    return None


def smc_calibration(path: Path | SparseFile, name: str) -> CalibrationSource:
    """Return the calibration of an .smc; BadRequest when it holds none that can be read."""
    with SmcFile(path) as file:
        try:
            stored, refused = read_calibration(file)
        except UnreadableData as refusal:
            raise BadRequest(f"{name} has no readable calibration: {refusal.reason}") from refusal
        if not stored and not refused:
            hint = "in the 21-subject release it is in the anno file of the pair"
            raise BadRequest(f"{name} holds no calibration; {hint}")
        cameras: dict[str, Matrices] = {c: {"K": one.K, "D": one.D, "RT": one.RT} for c, one in stored.items()}
        size = image_size(file) or image_size(file, "mask")
        kept = file.cameras_having("color") or file.cameras_having("mask")
    notes = tuple(f"calibration of camera {camera or '?'}: {reason}" for camera, reason in refused.items())
    return CalibrationSource(name, cameras, size, kept, (), notes)
