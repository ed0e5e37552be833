"""Calibration of all cameras, not only of the chosen ones: it is small, and camera sets are compared with it."""

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


def extract(context: ExtractionContext) -> ModalityResult:
    """Write calibration/all_cameras.npy, cam_XX.npy and cameras.json."""
    result = ModalityResult(Modality.CALIBRATION)
    file = context.source.file_with("Calibration")
    if file is None:
        return result
    cameras, refused = read_calibration(file)
    for camera, reason in refused.items():
        result.leave_out(camera, None, reason)
    if not cameras:
        return result
    result.stored = True
    matrices = {camera: {"K": one.K, "D": one.D, "RT": one.RT} for camera, one in cameras.items()}
    _write(context, result, "all_cameras", matrices)
    for camera, of_camera in matrices.items():
        _write(context, result, camera_folder(camera), of_camera)
    context.folder.write("calibration/cameras.json", _json_text(cameras).encode())
    result.files += 1
    return result


def _write(context: ExtractionContext, result: ModalityResult, name: str, value: object) -> None:
    with context.folder.open(f"calibration/{name}.npy") as file:
        write_pickled(file, value)
    result.files += 1


def _json_text(cameras: dict[str, Calibration]) -> str:
    """Return cameras.json, one camera a line; numbers that are not finite become null."""
    rows = [
        f"  {json.dumps(camera)}: "
        + json.dumps({"K": _as_lists(one.K), "D": _as_lists(one.D), "RT": _as_lists(one.RT)}, allow_nan=False)
        for camera, one in cameras.items()
    ]
    head = json.dumps(CONVENTION, indent=1).removesuffix("\n}")
    return head + ',\n "cameras": {\n' + ",\n".join(rows) + "\n }\n}\n"


def _as_lists(values: NDArray[Any]) -> object:
    return _nan_to_none(values.tolist())


def _nan_to_none(value: object) -> object:
    if isinstance(value, list):
        return [_nan_to_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
