"""Do the 3D landmarks fall on the 2D ones, in every camera?

Theory of operation: there are 73 points in 3D and 106 in 2D, and no map between them is published. So the map is
measured: each 3D point is paired with the 2D point that it falls nearest to in the middle of all cameras and
frames, once for the whole performance. A pair that holds in one camera only cannot win, so a camera with a wrong
calibration, a wrong id or wrong landmarks stands out by its own error; what is wrong in all cameras alike leaves
no pairs that are near. With fewer than three cameras the map is fitted to what it is to judge: the error is then
a lower bound, and called so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rm360_async.domain.cameras.calibration.check import Check, graded, named
from rm360_async.domain.cameras.calibration.lens import coefficients
from rm360_async.domain.cameras.rig import Array, to_camera
from rm360_async.domain.check_status import CheckState

LANDMARK_MM = (4.0, 12.0)
"""Error at the head above which is a warning, and a failure; 1 px of a full image is 0.26 mm there."""
PAIRED_MM = 5.0
"""A 3D point that falls nearer than this to its 2D point, in the middle of all, is paired."""
_FEWEST_PAIRED = 1 / 3
_TELLING_CAMERAS = 3
_FRAMES = 12
"""Frames of each camera that are looked at; landmarks of neighbouring frames tell the same."""


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
class Reprojection:
    """The error of each camera, and the 3D points that were paired with a 2D one, of all `points`."""

    cameras: Mapping[str, CameraError]
    pairs: Mapping[int, int]
    points: int

    @property
    def only_bounded(self) -> bool:
        """Tell whether the errors are lower bounds, since the map was fitted to too few cameras."""
        return len(self.cameras) < _TELLING_CAMERAS


def projected(points: Array, K: Array, D: Array, RT: Array) -> Array:
    """Return pixels (..., 2) of world points (..., 3), with lens distortion; NaN behind the camera."""
    seen = to_camera(points, RT)
    depth = np.where(seen[..., 2:] > 0, seen[..., 2:], np.nan)
    x, y = np.moveaxis(seen[..., :2] / depth, -1, 0)
    k1, k2, p1, p2, k3 = coefficients(D)
    square = x**2 + y**2
    radial = 1 + square * (k1 + square * (k2 + square * k3))
    bent_x = x * radial + 2 * p1 * x * y + p2 * (square + 2 * x**2)
    bent_y = y * radial + p1 * (square + 2 * y**2) + 2 * p2 * x * y
    return np.asarray(np.stack([bent_x, bent_y, np.ones_like(x)], axis=-1) @ K[:2].T)


def reproject(cameras: Mapping[str, Landmarks2d], points: Mapping[int, Array]) -> Reprojection | None:
    """Return how far 3D landmarks (frame: (Q, 3) m) fall from the 2D ones; None when no frame has both."""
    samples = {camera: _samples(each, points) for camera, each in cameras.items()}
    samples = {camera: found for camera, found in samples.items() if len(found[0])}
    if not samples:
        return None
    middle = np.median(np.concatenate([mm for _, mm in samples.values()]), axis=0)
    nearest = middle.argmin(axis=1)
    rows = np.arange(len(nearest))
    near = middle[rows, nearest] <= PAIRED_MM
    used = rows[near] if near.sum() >= len(rows) * _FEWEST_PAIRED else rows
    errors = {
        camera: CameraError(
            float(np.median(px[:, used, nearest[used]])), float(np.median(mm[:, used, nearest[used]])), len(px)
        )
        for camera, (px, mm) in samples.items()
    }
    return Reprojection(errors, {int(row): int(nearest[row]) for row in rows[near]}, len(rows))


def _samples(camera: Landmarks2d, points: Mapping[int, Array]) -> tuple[Array, Array]:
    """Return the distances (F, Q, P) of every 3D point to every 2D point, in pixels and in millimetres."""
    shared = sorted(camera.points.keys() & points.keys())
    frames = [shared[at] for at in np.linspace(0, len(shared) - 1, min(_FRAMES, len(shared))).round().astype(int)]
    if not frames:
        return np.empty((0, 0, 0)), np.empty((0, 0, 0))
    world, marked = np.stack([points[frame] for frame in frames]), np.stack([camera.points[frame] for frame in frames])
    pixels = projected(world, camera.K, camera.D, camera.RT)
    px = np.linalg.norm(pixels[:, :, None] - marked[:, None], axis=-1)
    px = np.where(np.isfinite(px), px, np.inf)
    depth = np.abs(to_camera(world, camera.RT)[..., 2])
    return px, px * depth[:, :, None] / camera.K[0, 0] * 1000


def check_landmarks(found: Reprojection | None) -> Check:
    """Say whether the 3D landmarks fall on the 2D ones in every camera, and in which they do not."""
    if found is None:
        return Check(
            "landmarks", CheckState.UNCHECKED, "no frame has landmarks in 2D and in 3D", None, LANDMARK_MM[0], "mm"
        )
    worst = max(found.cameras, key=lambda camera: found.cameras[camera].mm)
    error = found.cameras[worst]
    paired = f"{len(found.pairs)} of {found.points} 3D points lie on a 2D one"
    if len(found.pairs) < found.points * _FEWEST_PAIRED:
        sentence = f"3D landmarks do not fall on the 2D ones: {paired}, within {PAIRED_MM:g} mm in most cameras"
        return Check("landmarks", CheckState.FAIL, sentence, error.mm, LANDMARK_MM[0], "mm")
    state = graded(error.mm, *LANDMARK_MM)
    bound = "at least " if found.only_bounded else ""
    where = f"camera {worst}" + (f", the worst of {len(found.cameras)}," if len(found.cameras) > 1 else "")
    sentence = f"{paired}; in {where} they miss by {bound}{_size(error)}"
    if state is not CheckState.OK:
        away = [camera for camera, each in found.cameras.items() if each.mm > LANDMARK_MM[0]]
        sentence += f"; more than {LANDMARK_MM[0]:g} mm in {named(away)}"
    return Check("landmarks", state, sentence, error.mm, LANDMARK_MM[0], "mm")


def _size(error: CameraError) -> str:
    if not np.isfinite(error.mm):
        return "so much that they are behind it"
    return f"{error.px:.1f} px ({error.mm:.2f} mm at the head)"
