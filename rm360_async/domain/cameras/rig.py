"""The capture rig: 60 cameras of one real calibration, and the convention of RT.

Convention, determined from two real calibrations: RT is camera-to-world with OpenCV axes (x right, y down,
z forward) in metres. So the camera centre is `RT[:3, 3]`, the optical axis is the third column, and
world-to-camera is `inv(RT)`. World up is -Y, the face looks to about -Z, the subject's left is +X. If RT is taken as
world-to-camera instead, half of the cameras have the head behind them.

The rig is re-calibrated between sessions, not moved: the angles here hold for every subject within about half a
degree. K and RT for projecting a subject's data must come from that subject's own file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

FRONT_CAMERA = "25"
"""The camera that the face looks at; the only one of single-view performances."""

S3_CAMERAS = tuple(
    f"{number:02d}"
    for number in (
        *(0, 1, 3, 4, 5, 7, 9, 11, 13, 15, 16, 17, 19, 20, 21, 23, 24, 25, 27, 28, 29, 31, 32, 33),
        *(35, 37, 39, 40, 41, 43, 45, 47, 48, 49, 53, 55, 57, 59),
    )
)
"""The 38 cameras of s3_all in the 500-subject release: the benchmark's training views."""

UP = np.array([0.0, -1.0, 0.0])
FACE = np.array([0.0, 0.0, -1.0])
LEFT = np.array([1.0, 0.0, 0.0])
"""Unit directions in the world: up, where the face looks, and the subject's left."""
RESOLUTION = (2048, 2448)
"""Height and width of a full image in pixels."""


@dataclass(frozen=True)
class RigCamera:
    """One camera: K (3, 3) px, D (5,), RT (4, 4) m, and its position relative to the head centre.

    `azimuth` is 0 at the face and positive to the subject's left, `elevation` positive above, in degrees;
    `radius` is the distance to the head centre in metres; `tier` is upper, middle, lower or eye-inner.
    """

    id: str
    K: Array
    D: Array
    RT: Array
    azimuth: float
    elevation: float
    radius: float
    tier: str

    @property
    def centre(self) -> Array:
        """Return the camera centre (3,) in world metres."""
        return camera_centre(self.RT)


def camera_centre(RT: Array) -> Array:
    """Return the camera centre (3,) in world metres."""
    return np.array(RT[:3, 3])


def world_to_camera(RT: Array) -> Array:
    """Return the (4, 4) matrix that maps world points to camera coordinates."""
    return np.asarray(np.linalg.inv(RT), np.float64)


def to_camera(points_world: ArrayLike, RT: Array) -> Array:
    """Return world points (..., 3) m in camera coordinates (..., 3); z is the depth in metres."""
    matrix = world_to_camera(RT)
    return np.asarray(np.asarray(points_world, np.float64) @ matrix[:3, :3].T + matrix[:3, 3])


def project(points_world: ArrayLike, K: Array, RT: Array) -> Array:
    """Return pixel coordinates (..., 2) of world points (..., 3) m, without lens distortion.

    Integer coordinates are pixel centres. Points that are not in front of the camera give NaN.
    """
    points = to_camera(points_world, RT)
    depth = np.where(points[..., 2:] > 0, points[..., 2:], np.nan)
    return np.asarray((points / depth) @ K[:2].T)


def scale_intrinsics(K: Array, scale: float) -> Array:
    """Return K for an image resized by `scale`, integer coordinates being pixel centres before and after."""
    scaled = np.array(K, np.float64)
    scaled[:2, :2] *= scale
    scaled[:2, 2] = (scaled[:2, 2] + 0.5) * scale - 0.5
    return scaled


def nearest_point_to_axes(matrices: ArrayLike) -> Array:
    """Return the point (3,) nearest to the optical axes of camera-to-world (N, 4, 4), in least squares."""
    stack = np.asarray(matrices, np.float64)
    axes, centres = stack[:, :3, 2], stack[:, :3, 3]
    projectors = np.eye(3) - axes[:, :, None] * axes[:, None, :]  # onto the plane across each axis
    return np.linalg.solve(projectors.sum(axis=0), (projectors @ centres[:, :, None]).sum(axis=0)[:, 0])


def angles_about(centre: ArrayLike, points: ArrayLike) -> tuple[Array, Array, Array]:
    """Return azimuth and elevation in degrees and distance in metres of points (N, 3), seen from a centre (3,)."""
    offset = np.asarray(points, np.float64) - np.asarray(centre, np.float64)
    radius = np.linalg.norm(offset, axis=-1)
    azimuth = np.degrees(np.arctan2(offset @ LEFT, offset @ FACE))
    elevation = np.degrees(np.arcsin(np.clip(offset @ UP / np.maximum(radius, 1e-12), -1.0, 1.0)))
    return azimuth, elevation, radius


def tier_of(elevation: float) -> str:
    """Return the tier of an elevation in degrees; the gaps between the tiers are 3, 19 and 25 degrees wide."""
    if elevation > 15:
        return "upper"
    if elevation > -0.5:
        return "middle"
    return "eye-inner" if elevation > -15 else "lower"


@cache
def rig() -> Mapping[str, RigCamera]:
    """Return the 60 cameras of the built-in calibration by id; arrays are read-only."""
    text = (resources.files(__package__) / "rig.json").read_text(encoding="utf-8")
    stored = {
        camera: {key: np.array(value) for key, value in entry.items()} for camera, entry in json.loads(text).items()
    }
    ids = sorted(stored)
    matrices = np.stack([stored[camera]["RT"] for camera in ids])
    azimuth, elevation, radius = angles_about(nearest_point_to_axes(matrices), matrices[:, :3, 3])
    for array in (array for entry in stored.values() for array in entry.values()):
        array.setflags(write=False)
    positions = zip(ids, azimuth.tolist(), elevation.tolist(), radius.tolist(), strict=True)
    return MappingProxyType(
        {i: RigCamera(i, **stored[i], azimuth=a, elevation=e, radius=r, tier=tier_of(e)) for i, a, e, r in positions}
    )


@cache
def head_centre() -> Array:
    """Return the point nearest to the 60 optical axes, about (-0.043, -0.501, 0.002) m: the middle of the head."""
    centre = nearest_point_to_axes(np.stack([camera.RT for camera in rig().values()]))
    centre.setflags(write=False)
    return centre
