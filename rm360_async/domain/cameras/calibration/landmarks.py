"""Check that the 3D landmarks, projected, fall on the 2D ones in every camera.

Theory of operation: there are 73 points in 3D and 106 in 2D, and no map between them is published. So the map is
measured: each 3D point is paired with the 2D point that it falls nearest to in the median of all cameras and
frames, once for the whole performance. A pair that holds in one camera only cannot win, so a camera with a wrong
calibration, a wrong id or wrong landmarks stands out by its own error; a fault that all cameras share leaves no pairs
that are near. With fewer than three cameras the map is fitted to the data that it is meant to check: the error is
then a lower bound, and is called so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rm360_async.domain.cameras.calibration.check import Check, cameras_text, grade
from rm360_async.domain.cameras.calibration.lens import distortion_coefficients
from rm360_async.domain.cameras.rig import Array, to_camera
from rm360_async.domain.check_status import CheckState

ERROR_LIMITS_MM = (4.0, 12.0)
"""Error at the head above which is a warning, and a failure; 1 px of a full image is 0.26 mm there."""
MAX_PAIR_DISTANCE_MM = 5.0
"""A 3D point is paired if its median distance to a 2D point is at most this."""
MIN_PAIRED_SHARE = 1 / 3
MIN_CAMERAS = 3
"""With fewer cameras the errors are lower bounds."""
MAX_FRAMES_SAMPLED = 12
"""Frames of each camera that are measured; landmarks of neighbouring frames are nearly the same."""


@dataclass(frozen=True)
class Landmarks2d:
    """One camera's K (3, 3) px, D (5,), RT (4, 4) m, and its landmarks (P, 2) px by frame."""

    K: Array
    D: Array
    RT: Array
    points: Mapping[int, Array]


@dataclass(frozen=True)
class CameraError:
    """The median error of one camera in pixels of its images, and in millimetres at the head."""

    px: float
    mm: float
    frames: int


@dataclass(frozen=True)
class ReprojectionErrors:
    """The error of each camera; `pairs` maps 3D points (indices) to 2D ones, `points` is the number of 3D points."""

    cameras: Mapping[str, CameraError]
    pairs: Mapping[int, int]
    points: int

    @property
    def is_lower_bound(self) -> bool:
        """Return True if the errors are lower bounds, since the map was fitted to too few cameras."""
        return len(self.cameras) < MIN_CAMERAS


def project_with_distortion(points: Array, K: Array, D: Array, RT: Array) -> Array:
    """Return pixels (..., 2) of world points (..., 3) m, with lens distortion; NaN behind the camera."""
    x, y, depth = np.moveaxis(to_camera(points, RT), -1, 0)
    depth = np.where(depth > 0, depth, np.nan)
    x, y = x / depth, y / depth
    if np.any(D):  # 100,000 points take half the time without
        x, y = _distorted(x, y, D)
    return np.stack([row[0] * x + row[1] * y + row[2] for row in K[:2]], axis=-1)


def _distorted(x: Array, y: Array, D: Array) -> tuple[Array, Array]:
    k1, k2, p1, p2, k3 = distortion_coefficients(D)
    r2 = x**2 + y**2
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    distorted_x = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x**2)
    distorted_y = y * radial + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y
    return distorted_x, distorted_y


def measure_reprojection(cameras: Mapping[str, Landmarks2d], points: Mapping[int, Array]) -> ReprojectionErrors | None:
    """Return how far 3D landmarks (frame: (Q, 3) m) fall from the 2D ones; None if no frame has both."""
    distances = {camera: _distances(landmarks, points) for camera, landmarks in cameras.items()}
    distances = {camera: (px, mm) for camera, (px, mm) in distances.items() if len(px)}
    if not distances:
        return None
    median = np.median(np.concatenate([mm for _, mm in distances.values()]), axis=0)
    nearest = median.argmin(axis=1)
    all_points = np.arange(len(nearest))
    is_paired = median[all_points, nearest] <= MAX_PAIR_DISTANCE_MM
    paired = all_points[is_paired]
    used = paired if len(paired) >= len(all_points) * MIN_PAIRED_SHARE else all_points
    errors = {
        camera: CameraError(
            float(np.median(px[:, used, nearest[used]])), float(np.median(mm[:, used, nearest[used]])), len(px)
        )
        for camera, (px, mm) in distances.items()
    }
    return ReprojectionErrors(errors, {int(point): int(nearest[point]) for point in paired}, len(all_points))


def _distances(camera: Landmarks2d, points: Mapping[int, Array]) -> tuple[Array, Array]:
    """Return the distances (F, Q, P) of every 3D point to every 2D point, in pixels and in millimetres."""
    shared = sorted(camera.points.keys() & points.keys())
    count = min(MAX_FRAMES_SAMPLED, len(shared))
    frames = [shared[index] for index in np.linspace(0, len(shared) - 1, count).round().astype(int)]
    if not frames:
        return np.empty((0, 0, 0)), np.empty((0, 0, 0))
    world = np.stack([points[frame] for frame in frames])
    marked = np.stack([camera.points[frame] for frame in frames])
    pixels = project_with_distortion(world, camera.K, camera.D, camera.RT)
    px = np.linalg.norm(pixels[:, :, None] - marked[:, None], axis=-1)
    px = np.where(np.isfinite(px), px, np.inf)
    depth = np.abs(to_camera(world, camera.RT)[..., 2])
    return px, px * depth[:, :, None] / camera.K[0, 0] * 1000


def check_landmarks(errors: ReprojectionErrors | None) -> Check:
    """Check that the 3D landmarks fall on the 2D ones in every camera; None is "not checked"."""
    limit = ERROR_LIMITS_MM[0]
    if errors is None:
        return Check("landmarks", CheckState.UNCHECKED, "no frame has landmarks in 2D and in 3D", None, limit, "mm")
    worst = max(errors.cameras, key=lambda camera: errors.cameras[camera].mm)
    error = errors.cameras[worst]
    paired = f"{len(errors.pairs)} of {errors.points} 3D points lie on a 2D one"
    if len(errors.pairs) < errors.points * MIN_PAIRED_SHARE:
        sentence = (
            f"3D landmarks do not fall on the 2D ones: {paired}, within {MAX_PAIR_DISTANCE_MM:g} mm in most cameras"
        )
        return Check("landmarks", CheckState.FAIL, sentence, error.mm, limit, "mm")
    state = grade(error.mm, *ERROR_LIMITS_MM)
    bound = "at least " if errors.is_lower_bound else ""
    where = f"camera {worst}" + (f", the worst of {len(errors.cameras)}," if len(errors.cameras) > 1 else "")
    sentence = f"{paired}; in {where} they miss by {bound}{_error_text(error)}"
    if state is not CheckState.OK:
        above_limit = [camera for camera, each in errors.cameras.items() if each.mm > limit]
        sentence += f"; more than {limit:g} mm in {cameras_text(above_limit)}"
    return Check("landmarks", state, sentence, error.mm, limit, "mm")


def _error_text(error: CameraError) -> str:
    if not np.isfinite(error.mm):
        return "so much that they are behind it"
    return f"{error.px:.1f} px ({error.mm:.2f} mm at the head)"
