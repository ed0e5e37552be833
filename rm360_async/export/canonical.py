"""Canonical cameras: one focal length, no lens, the principal point in the middle, the head on the axis.

Theory of operation: a camera that turns about its own centre sees the same rays, so its picture follows from the stored
one by a fixed map of pixels, whatever the depth. Every camera is turned so that the point that the optical axes come
nearest to (the middle of the head) lies on its axis, and gets one focal length for all, so that a ball around that
point just fits the picture of the nearest camera. Programs that ignore the principal point (all descendants of 3D
Gaussian splatting), know one K for all cameras (NeRSemble, VHAP), or have no lens are exact on such cameras.

Integer coordinates are pixel centres here, as in OpenCV, so the middle of a picture of n pixels is (n - 1) / 2; formats
that put the centres at halves add 0.5 when they write. Numpy only; the pictures are made in `canonical_picture`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rm360_async.domain.cameras.calibration.conventions import place_cameras
from rm360_async.domain.cameras.rig import Array
from rm360_async.domain.errors import BadRequest

DEFAULT_SIZE = 512
"""Width and height of a canonical picture in pixels."""
DEFAULT_RADIUS = 0.20
"""Radius in metres of the ball around the head's middle that fits the picture of the nearest camera."""
REDUCTIONS = (8, 4, 2, 1)
"""What a JPEG decoder can divide the size of a picture by while it decodes."""


class CalibratedCamera(Protocol):
    """What a canonical camera is made from: K (3, 3) px, D (5,) k1 k2 p1 p2 k3, RT (4, 4) camera-to-world in m."""

    @property
    def K(self) -> Array: ...  # noqa: D102
    @property
    def D(self) -> Array: ...  # noqa: D102
    @property
    def RT(self) -> Array: ...  # noqa: D102


@dataclass(frozen=True)
class CanonicalCamera:
    """A pinhole camera with square pixels and a centred principal point.

    `RT` (4, 4) is camera-to-world, OpenCV axes, metres; `focal` is in pixels; the picture is `size` x `size` pixels.
    """

    id: str
    RT: Array
    focal: float
    size: int

    @property
    def K(self) -> Array:
        """Return the matrix (3, 3) in pixels; integer coordinates are pixel centres."""
        middle = (self.size - 1) / 2
        return np.array([[self.focal, 0.0, middle], [0.0, self.focal, middle], [0.0, 0.0, 1.0]])


def canonical_cameras(
    cameras: Mapping[str, CalibratedCamera], size: int = DEFAULT_SIZE, radius: float = DEFAULT_RADIUS
) -> dict[str, CanonicalCamera]:
    """Return the canonical camera of each calibrated camera, by id.

    Give all cameras of the performance, so that a choice of some does not change their focal length. Raises BadRequest
    if a camera lies inside the ball or looks away from it.
    """
    target = place_cameras(np.stack([np.asarray(camera.RT, np.float64) for camera in cameras.values()])).head
    focal = common_focal({key: camera.RT for key, camera in cameras.items()}, target, size, radius)
    return {key: CanonicalCamera(key, turn_towards(one.RT, target), focal, size) for key, one in cameras.items()}


def common_focal(poses: Mapping[str, Array], target: Array, size: int, radius: float) -> float:
    """Return the focal length in pixels with which a ball around the target just fits the nearest camera's picture.

    The outline of a ball of radius r, seen from a distance d, is at the angle asin(r / d) from the axis. Raises
    BadRequest if a camera lies inside the ball or has the target behind it.
    """
    distances = {}
    for key, RT in poses.items():
        offset = target - RT[:3, 3]
        distances[key] = float(np.linalg.norm(offset))
        if distances[key] <= radius:
            hint = "use a smaller --radius"
            raise BadRequest(
                f"camera {key} is {distances[key]:.2f} m from the head's middle, within the radius; {hint}"
            )
        if RT[:3, 2] @ offset <= 0:
            raise BadRequest(f"camera {key} has the head behind it: its calibration is wrong; see `rm360 report`")
    nearest = min(distances.values())
    return float(size / 2 * np.sqrt(nearest**2 - radius**2) / radius)


def turn_towards(RT: Array, target: Array) -> Array:
    """Return the pose (4, 4) turned about its own centre, by the smallest turn that brings the target onto its axis.

    Stored rotations are orthonormal to 6e-7 only; the turned one is so to the last digit, as readers invert either way.
    """
    left, _, right = np.linalg.svd(np.asarray(RT[:3, :3], np.float64))
    rotation = left @ right
    axis = rotation[:, 2]
    wanted = target - RT[:3, 3]
    wanted = wanted / np.linalg.norm(wanted)
    cross, cosine = np.cross(axis, wanted), float(axis @ wanted)
    skew = np.array([[0.0, -cross[2], cross[1]], [cross[2], 0.0, -cross[0]], [-cross[1], cross[0], 0.0]])
    turned = np.eye(4)
    turned[:3, :3] = (np.eye(3) + skew + skew @ skew / (1.0 + cosine)) @ rotation  # Rodrigues' formula
    turned[:3, 3] = RT[:3, 3]
    return turned


def choose_reduction(focal: float, canonical_focal: float) -> int:
    """Return the largest reduction of the decoder that keeps at least the resolution of the canonical picture."""
    return next((n for n in REDUCTIONS if focal / n >= canonical_focal), 1)


def oversampling(focal: float, canonical_focal: float) -> int:
    """Return how many samples a side each canonical pixel needs, so that no pixel of the source is passed over."""
    return max(1, int(np.ceil(focal / canonical_focal - 1e-9)))
