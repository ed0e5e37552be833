"""The conventions that RT can follow, and which of them a calibration fits.

Theory of operation: 60 cameras round a head give the convention away. Interpreted correctly, each has the head in
front of it at about 1.2 m, its axis passes the head within a few centimetres, and its picture stands upright in a
world whose up is -Y. Inverted matrices, OpenGL axes, millimetres and a world with +Y up each break one of these for
half of the cameras or more. So a convention is scored by the share of cameras that meet all three conditions, and the
stated one is only doubted if some camera does not meet them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from rm360_async.domain.cameras.rig import UP, Array, head_centre, nearest_point_to_axes

HEAD_DEPTH_RANGE_M = (0.8, 1.6)
MAX_AXIS_MISS_M = 0.15
MIN_UPRIGHT_COSINE = 0.5
MIN_AXIS_SPREAD = 0.1
"""Least spread of the axes (smallest eigenvalue, 0 for one camera, 0.5 for the whole rig) that fixes their point."""
METRES_PER_UNIT = {"metres": 1.0, "millimetres": 0.001, "centimetres": 0.01}


@dataclass(frozen=True)
class PoseConvention:
    """One interpretation of RT: its direction, the camera's axes, the unit, and whether the world's up is +Y."""

    world_to_camera: bool = False
    gl_axes: bool = False
    unit: str = "metres"
    y_up: bool = False

    def __str__(self) -> str:
        direction = "world-to-camera" if self.world_to_camera else "camera-to-world"
        axes = "OpenGL axes" if self.gl_axes else "OpenCV axes"
        return f"{direction}, {axes}, {self.unit}{', world up +Y' if self.y_up else ''}"

    def to_stated(self, matrices: Array) -> Array:
        """Return matrices (N, 4, 4) of this convention as camera-to-world, OpenCV axes, metres, world up -Y."""
        rotation, translation = matrices[:, :3, :3], matrices[:, :3, 3] * METRES_PER_UNIT[self.unit]
        if self.world_to_camera:
            rotation = rotation.transpose(0, 2, 1)
            translation = -(rotation @ translation[:, :, None])[:, :, 0]
        if self.gl_axes:
            rotation = rotation * [1.0, -1.0, -1.0]
        if self.y_up:
            half_turn = np.array([1.0, -1.0, -1.0])
            rotation, translation = rotation * half_turn[:, None], translation * half_turn
        converted = np.tile(np.eye(4), (len(matrices), 1, 1))
        converted[:, :3, :3], converted[:, :3, 3] = rotation, translation
        return converted


STATED_CONVENTION = PoseConvention()
"""Camera-to-world, OpenCV axes, metres, world up -Y."""
ALL_CONVENTIONS = tuple(
    PoseConvention(world_to_camera, gl_axes, unit, y_up)
    for unit, y_up, gl_axes, world_to_camera in product(METRES_PER_UNIT, (False, True), (False, True), (False, True))
)
"""All conventions, the stated one first."""


@dataclass(frozen=True)
class Placement:
    """Camera-to-world matrices (N, 4, 4) in the stated convention, and the head (3,) that they surround, world metres.

    `own_head` is True if the head is the point nearest to the optical axes of these cameras, False if these do not
    fix a point and the head of the built-in rig is used.
    """

    matrices: Array
    head: Array
    own_head: bool

    @cached_property
    def offsets(self) -> Array:
        """Return the vectors (N, 3) from the cameras to the head, metres."""
        return np.asarray(self.head - self.matrices[:, :3, 3])

    @cached_property
    def depths(self) -> Array:
        """Return the depth (N,) of the head along each optical axis in metres; negative is behind the camera."""
        return np.asarray((self.offsets * self.matrices[:, :3, 2]).sum(axis=1))

    @cached_property
    def misses(self) -> Array:
        """Return the distance (N,) of the head from each optical axis in metres."""
        across = self.offsets - self.depths[:, None] * self.matrices[:, :3, 2]
        return np.asarray(np.linalg.norm(across, axis=1))

    @property
    def fits(self) -> NDArray[np.bool_]:
        """Return for each camera (N,) whether it looks at the head from about the rig's distance, upright."""
        nearest, farthest = HEAD_DEPTH_RANGE_M
        upright = -(self.matrices[:, :3, 1] @ UP) > MIN_UPRIGHT_COSINE
        in_front = (self.depths > nearest) & (self.depths < farthest)
        return np.asarray(in_front & (self.misses < MAX_AXIS_MISS_M) & upright)


def place_cameras(matrices: Array) -> Placement:
    """Return the placement of camera-to-world matrices (N, 4, 4; N > 0) about the point nearest to their axes."""
    axes = matrices[:, :3, 2]
    spread = np.linalg.eigvalsh(np.eye(3) - (axes[:, :, None] * axes[:, None, :]).mean(axis=0))[0]
    own_head = bool(spread > MIN_AXIS_SPREAD)
    return Placement(matrices, nearest_point_to_axes(matrices) if own_head else head_centre(), own_head)


def best_convention(matrices: Array) -> tuple[PoseConvention, dict[PoseConvention, float]]:
    """Return the convention that fits most cameras, and the share of cameras that fits each one that was tried.

    Other conventions than the stated one are only tried if some camera does not fit it; of equals the first wins.
    """
    shares = {STATED_CONVENTION: float(place_cameras(matrices).fits.mean())}
    if shares[STATED_CONVENTION] < 1:
        for convention in ALL_CONVENTIONS:
            shares[convention] = float(place_cameras(convention.to_stated(matrices)).fits.mean())
    return max(shares, key=lambda convention: shares[convention]), shares


def outliers_by_convention(
    ids: tuple[str, ...], matrices: Array, placement: Placement
) -> dict[PoseConvention, list[str]]:
    """Return the cameras that do not fit, but do in another convention, by that convention.

    `matrices` (N, 4, 4) are as stored, `ids` and `placement` those of the same N cameras.
    """
    outliers: dict[PoseConvention, list[str]] = {}
    for index in np.flatnonzero(~placement.fits):
        for convention in ALL_CONVENTIONS[1:]:
            converted = convention.to_stated(matrices[index : index + 1])
            if Placement(converted, placement.head, placement.own_head).fits.all():
                outliers.setdefault(convention, []).append(ids[index])
                break
    return outliers
