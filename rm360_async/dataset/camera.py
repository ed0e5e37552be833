"""One calibrated camera: where it stands, what it projects, and how it changes with the size of its pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rm360_async.domain.cameras.calibration.landmarks import project_with_distortion
from rm360_async.domain.cameras.calibration.lens import fold_radius
from rm360_async.domain.cameras.rig import Array, camera_centre, scale_intrinsics, world_to_camera

REDUCTIONS = (1, 2, 4, 8)
"""What the JPEG decoder can divide width and height by."""


@dataclass(frozen=True, eq=False)
class Camera:
    """One camera of one performance, for pictures of `width` x `height` px.

    Coordinates: the world is in metres, up is -Y, the face looks to about -Z, the subject's left is +X. `RT` is
    camera-to-world with OpenCV axes (x right, y down, z forward). Pixels are (x, y) from the top left; the centre of
    the first pixel is (0, 0), as in OpenCV (nerfstudio, COLMAP and 3DGS have it at (0.5, 0.5): add 0.5 to cx and cy).

    `id` is two digits, "25"; `K` (3, 3) px; `D` (5,) k1 k2 p1 p2 k3 as in OpenCV, zeros for most subjects; `RT` (4, 4)
    camera-to-world, metres. `azimuth` is in degrees about the head: 0 in front of the face, positive to the subject's
    left, 180 behind; `elevation` is positive above; `tier` is upper, middle, eye-inner or lower.
    """

    id: str
    K: Array
    D: Array
    RT: Array
    width: int
    height: int
    azimuth: float
    elevation: float
    tier: str

    @property
    def centre(self) -> Array:
        """Return the camera centre (3,) in world metres."""
        return camera_centre(self.RT)

    @property
    def world_to_camera(self) -> Array:
        """Return the (4, 4) matrix from world to camera coordinates, the inverse of RT."""
        return world_to_camera(self.RT)

    @property
    def has_distortion(self) -> bool:
        """Return True if any distortion coefficient is not zero."""
        return bool(self.D.any())

    @property
    def fold_radius(self) -> float:
        """Return the distance from the axis (as tangent) beyond which the distortion means nothing; inf for never."""
        return fold_radius(self.D)

    def project(self, points: ArrayLike) -> Array:
        """Return pixels (..., 2) of world points (..., 3) m, with lens distortion; NaN behind the camera."""
        return project_with_distortion(np.asarray(points, np.float64), self.K, self.D, self.RT)

    def reduced(self, factor: int) -> Camera:
        """Return the camera of the pictures that `image(..., reduce=factor)` gives: 1, 2, 4 or 8 times smaller.

        Pixel centres stay where they are in the scene: cx' = (cx + 0.5) / factor - 0.5. Width and height are rounded
        up, as the decoder does.
        """
        require_reduction(factor)
        width, height = -(-self.width // factor), -(-self.height // factor)
        return replace(self, K=scale_intrinsics(self.K, 1 / factor), width=width, height=height)


def require_reduction(factor: int) -> None:
    """Raise ValueError if pictures cannot be decoded smaller by this factor."""
    if factor not in REDUCTIONS:
        raise ValueError(f"reduce={factor!r}: a picture can be decoded 1, 2, 4 or 8 times smaller")


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array, made read-only: several callers may hold it."""
    array.setflags(write=False)
    return array
