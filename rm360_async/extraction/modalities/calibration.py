"""Calibration of all cameras, whatever cameras are chosen: it is small, and sets are compared by it."""

from __future__ import annotations

import json
import math
from typing import Any

from numpy.typing import NDArray

from rm360_async.domain.names import Modality, camera_folder
from rm360_async.extraction.arrays import write_pickled
from rm360_async.extraction.context import ExtractionContext, ModalityResult
from rm360_async.smc import Calibration, read_calibration

CONVENTION = {
    "type": "c2w",
    "axes": "opencv",
    "unit": "m",
    "up": "-y",
    "meaning": (
        "RT maps camera to world: camera centre = RT[:3, 3], optical axis = third column of RT[:3, :3], "
        "world-to-camera = inv(RT). Camera axes: x right, y down, z forward. "
        "K in px; D = k1 k2 p1 p2 k3 as in OpenCV."
    ),
}


def extract(work: ExtractionContext) -> ModalityResult:
    """Write calibration/all_cameras.npy, cam_XX.npy and cameras.json."""
    found = ModalityResult(Modality.CALIBRATION)
    file = work.source.having("Calibration")
    if file is None:
        return found
    cameras, refused = read_calibration(file)
    for camera, reason in refused.items():
        found.leave_out(camera, None, reason)
    if not cameras:
        return found
    found.stored = True
    values = {camera: {"K": one.K, "D": one.D, "RT": one.RT} for camera, one in cameras.items()}
    _write(work, found, "all_cameras", values)
    for camera, matrices in values.items():
        _write(work, found, camera_folder(camera), matrices)
    work.folder.write("calibration/cameras.json", _text(cameras).encode())
    found.files += 1
    return found


def _write(work: ExtractionContext, found: ModalityResult, name: str, value: object) -> None:
    with work.folder.open(f"calibration/{name}.npy") as file:
        write_pickled(file, value)
    found.files += 1


def _text(cameras: dict[str, Calibration]) -> str:
    """Return the same as JSON, one camera a line; what is not finite becomes null."""
    rows = [
        f"  {json.dumps(camera)}: "
        + json.dumps({"K": _listed(one.K), "D": _listed(one.D), "RT": _listed(one.RT)}, allow_nan=False)
        for camera, one in cameras.items()
    ]
    head = json.dumps(CONVENTION, indent=1).removesuffix("\n}")
    return head + ',\n "cameras": {\n' + ",\n".join(rows) + "\n }\n}\n"


def _listed(values: NDArray[Any]) -> object:
    return _finite(values.tolist())


def _finite(value: object) -> object:
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
