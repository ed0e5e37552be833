"""Where the source says that points appear: the other side of every round trip.

It shares nothing with the readers and writers that it checks: cameras.json is read here by itself, and OpenCV projects.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rm360_async.dataset import PublishedPerformance
from rm360_async.domain.cameras.rig import Array
from rm360_async.export.format import CheckFailed
from rm360_async.export.point_cloud import head_centre_of, probe_points

PROBE_COUNT = 200


def source_cameras(folder: Path) -> dict[str, dict[str, Array]]:
    """Return K, D and RT of each camera, as cameras.json of a published folder has them."""
    stored: Any = json.loads((folder / "calibration" / "cameras.json").read_text(encoding="utf-8"))["cameras"]
    return {camera: {key: np.array(of[key], np.float64) for key in ("K", "D", "RT")} for camera, of in stored.items()}


def source_pixels(camera: Mapping[str, Array], points: Array, *, undistorted: bool = False) -> Array:
    """Return pixels (N, 2) of world points (N, 3) m in one of `source_cameras`, integer pixel centres, with its lens.

    `undistorted` is for pictures from which the lens was removed.
    """
    world_to_camera = np.linalg.inv(camera["RT"])
    in_camera = points @ world_to_camera[:3, :3].T + world_to_camera[:3, 3]
    D = np.zeros(5) if undistorted else camera["D"].reshape(-1)[:5]
    pixels, _ = cv2.projectPoints(in_camera.reshape(-1, 1, 3), np.zeros(3), np.zeros(3), camera["K"], D)
    return np.asarray(pixels.reshape(-1, 2), np.float64)


def worst_error(
    performance: PublishedPerformance, projected: Mapping[str, Array], points: Array, *, undistorted: bool = False
) -> float:
    """Return the largest distance in px between pixels by camera (N, 2) and where the source has the points."""
    worst, cameras = 0.0, source_cameras(performance.folder)
    for camera, pixels in projected.items():
        expected = source_pixels(cameras[camera], points, undistorted=undistorted)
        errors = np.linalg.norm(pixels - expected, axis=1)
        worst = max(worst, float(np.where(np.isfinite(errors), errors, np.inf).max()))
    return worst


def probes(performance: PublishedPerformance) -> Array:
    """Return the points (N, 3) of a round trip, in the head, world metres."""
    return probe_points(head_centre_of(performance), PROBE_COUNT)


def require(condition: bool, message: str) -> None:
    """Raise CheckFailed with the message if a condition does not hold."""
    if not condition:
        raise CheckFailed(message)


def require_same(what: str, written: Iterable[object], expected: Iterable[object]) -> None:
    """Raise CheckFailed if what was written is not exactly what was to be written."""
    there, wanted = set(written), set(expected)
    missing, extra = wanted - there, there - wanted
    require(not missing and not extra, f"{what}: {len(missing)} missing, {len(extra)} too many")
