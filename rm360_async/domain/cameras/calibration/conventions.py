"""The ways in which RT can be read, and which of them a calibration fits.

Theory of operation: 60 cameras round a head give the reading away. Read rightly, each has the head in front of
it at about 1.2 m, its axis passes the head within a few centimetres, and its picture stands upright in a world
whose up is -Y. Inverted matrices, OpenGL axes, millimetres and a world with +Y up each break one of these for
half of the cameras or more. So a reading is scored by the share of cameras that fit all three, and the stated
one is only doubted when some camera does not fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from rm360_async.domain.cameras.rig import UP, Array, head_centre, nearest_point_to_axes

_DEPTHS = (0.8, 1.6)
_MISS = 0.15
_UPRIGHT = 0.5
_SPREAD = 0.1
"""Least spread of the axes (smallest eigenvalue, 0 for one camera, 0.5 for the whole rig) that fixes their point."""


@dataclass(frozen=True)
class PoseConvention:
    """One way to read RT: which way it maps, which axes the camera has, the unit, and whether the world's up is +Y."""

    inverted: bool = False
    gl_axes: bool = False
    unit: str = "metres"
    y_up: bool = False

    def __str__(self) -> str:
        way = "world-to-camera" if self.inverted else "camera-to-world"
        axes = "OpenGL axes" if self.gl_axes else "OpenCV axes"
        return f"{way}, {axes}, {self.unit}{', world up +Y' if self.y_up else ''}"

    def apply(self, matrices: Array) -> Array:
        """Return matrices (N, 4, 4) that are read this way as camera-to-world, OpenCV axes, metres, up -Y."""
        rotation, place = matrices[:, :3, :3], matrices[:, :3, 3] * _UNITS[self.unit]
        if self.inverted:
            rotation = rotation.transpose(0, 2, 1)
            place = -(rotation @ place[:, :, None])[:, :, 0]
        if self.gl_axes:
            rotation = rotation * [1.0, -1.0, -1.0]
        if self.y_up:
            turn = np.array([1.0, -1.0, -1.0])
            rotation, place = rotation * turn[:, None], place * turn
        read = np.tile(np.eye(4), (len(matrices), 1, 1))
        read[:, :3, :3], read[:, :3, 3] = rotation, place
        return read


_UNITS = {"metres": 1.0, "millimetres": 0.001, "centimetres": 0.01}
STATED = PoseConvention()
READINGS = tuple(
    PoseConvention(inverted, gl_axes, unit, y_up)
    for unit, y_up, gl_axes, inverted in product(_UNITS, (False, True), (False, True), (False, True))
)
"""All readings, the stated one first."""


@dataclass(frozen=True)
class Placement:
    """Where cameras stand: camera-to-world matrices (N, 4, 4) about a head at `head` (3,), world metres.

    `own_head` tells whether the head is the point nearest their own axes, or, where those do not fix one, the
    built-in rig's.
    """

    matrices: Array
    head: Array
    own_head: bool

    @cached_property
    def offsets(self) -> Array:
        """Return the vectors (N, 3) from the cameras to the head."""
        return np.asarray(self.head - self.matrices[:, :3, 3])

    @cached_property
    def depths(self) -> Array:
        """Return how far (N,) the head lies along each optical axis, in metres; negative is behind."""
        return np.asarray((self.offsets * self.matrices[:, :3, 2]).sum(axis=1))

    @cached_property
    def misses(self) -> Array:
        """Return by how much (N,) each optical axis misses the head, in metres."""
        across = self.offsets - self.depths[:, None] * self.matrices[:, :3, 2]
        return np.asarray(np.linalg.norm(across, axis=1))

    @property
    def fits(self) -> NDArray[np.bool_]:
        """Tell for each camera (N,) whether it looks at the head from about the rig's distance, upright."""
        upright = -(self.matrices[:, :3, 1] @ UP) > _UPRIGHT
        return np.asarray((self.depths > _DEPTHS[0]) & (self.depths < _DEPTHS[1]) & (self.misses < _MISS) & upright)


def placed(matrices: Array) -> Placement:
    """Return the cameras (N, 4, 4; at least one) placed about the point nearest their axes, if those fix one."""
    axes = matrices[:, :3, 2]
    spread = np.linalg.eigvalsh(np.eye(3) - (axes[:, :, None] * axes[:, None, :]).mean(axis=0))[0]
    own = bool(spread > _SPREAD)
    return Placement(matrices, nearest_point_to_axes(matrices) if own else head_centre(), own)


def best_convention(matrices: Array) -> tuple[PoseConvention, dict[PoseConvention, float]]:
    """Return the reading that most cameras fit, and the share that fits each reading that was tried.

    Others than the stated one are only tried when some camera does not fit that; of equals the first wins.
    """
    shares = {STATED: float(placed(matrices).fits.mean())}
    if shares[STATED] < 1:
        shares |= {reading: float(placed(reading.apply(matrices)).fits.mean()) for reading in READINGS}
    return max(shares, key=lambda reading: shares[reading]), shares


def strays_of(ids: tuple[str, ...], matrices: Array, placement: Placement) -> dict[PoseConvention, list[str]]:
    """Return the cameras (ids of the matrices as stored) that do not fit and do by a reading of their own, by that."""
    strays: dict[PoseConvention, list[str]] = {}
    for row in np.flatnonzero(~placement.fits):
        for reading in READINGS[1:]:
            alone = Placement(reading.apply(matrices[row : row + 1]), placement.head, placement.own_head)
            if alone.fits.all():
                strays.setdefault(reading, []).append(ids[row])
                break
    return strays
