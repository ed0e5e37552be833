"""The synthetic head in three dimensions: surfaces, features and landmarks.

Head axes: x to the subject's left, y up, z out of the face, metres, origin in the head centre of the rig.
The face is a height field `face_depth(x, y)`, so eyes, brows, lips and landmarks lie on the drawn
surface. `to_world` turns the head towards the side of the front camera.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rm360_async.domain.cameras.rig import FRONT_CAMERA, LEFT, UP, Array, head_centre, rig

HALF_WIDTH, HALF_HEIGHT, HALF_DEPTH = 0.079, 0.122, 0.1
EYE_X, EYE_Y = 0.0314, 0.018
MOUTH_Y, MOUTH_HALF_WIDTH = -0.06, 0.026
LANDMARKS = 106
LANDMARKS_3D = 73


@dataclass(frozen=True)
class Surface:
    """A mesh in head axes: vertices (V, 3) and outward quads (Q, 4) of indices."""

    vertices: Array
    quads: NDArray[np.intp]

    @property
    def corners(self) -> Array:
        """Return the corners of the quads (Q, 4, 3)."""
        return np.asarray(self.vertices[self.quads])

    def select(self, chosen: NDArray[np.bool_]) -> Surface:
        """Return the surface of the chosen quads; the mask has shape (Q,)."""
        return Surface(self.vertices, self.quads[chosen])


@cache
def head_rotation() -> Array:
    """Return (3, 3): the columns are the subject's left, up and front in the world."""
    azimuth = np.radians(rig()[FRONT_CAMERA].azimuth)
    front = np.array([np.sin(azimuth), 0.0, -np.cos(azimuth)])
    left = np.cos(azimuth) * LEFT + np.array([0.0, 0.0, np.sin(azimuth)])
    return np.stack([left, UP, front], axis=1)


def to_world(points: ArrayLike) -> Array:
    """Return points (..., 3) in head axes as world points (m)."""
    return np.asarray(np.asarray(points, np.float64) @ head_rotation().T + head_centre())


def half_width(y: ArrayLike) -> Array:
    """Return half the width of the head at a height: the jaw narrows towards the chin."""
    y = np.asarray(y, np.float64)
    jaw = 1.0 - 0.38 * np.clip(-y / HALF_HEIGHT, 0.0, 1.0) ** 2
    return np.asarray(HALF_WIDTH * jaw * np.sqrt(np.clip(1.0 - (y / HALF_HEIGHT) ** 2, 0.0, 1.0)))


def _relief(x: Array, y: Array) -> Array:
    """Return the depth (m) that nose, brows, eye sockets, lips and chin add to the face."""

    def bump(x0: float, y0: float, width: float, height: float) -> Array:
        return np.asarray(np.exp(-(((x - x0) / width) ** 2) - ((y - y0) / height) ** 2))

    ridge = np.clip((0.03 - y) / 0.055, 0.0, 1.0) * np.clip((y + 0.04) / 0.014, 0.0, 1.0)
    nose = 0.03 * np.exp(-((x / (0.009 + 0.006 * ridge)) ** 2)) * ridge
    sockets = -0.007 * (bump(EYE_X, EYE_Y, 0.018, 0.012) + bump(-EYE_X, EYE_Y, 0.018, 0.012))
    brows = 0.004 * (bump(0.03, 0.04, 0.024, 0.008) + bump(-0.03, 0.04, 0.024, 0.008))
    lips = 0.006 * bump(0.0, MOUTH_Y, 0.024, 0.014)
    return np.asarray(nose + sockets + brows + lips + 0.012 * bump(0.0, -0.1, 0.022, 0.016))


def face_depth(x: ArrayLike, y: ArrayLike) -> Array:
    """Return z of the face's surface at x and y (m)."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    inside = np.clip(1.0 - (x / np.maximum(half_width(y), 1e-6)) ** 2, 0.0, 1.0)
    level = np.sqrt(np.clip(1.0 - (y / HALF_HEIGHT) ** 2, 0.0, 1.0))
    return np.asarray(HALF_DEPTH * level * np.sqrt(inside) + _relief(x, y) * np.sqrt(inside))


def on_face(x: ArrayLike, y: ArrayLike, above: float = 0.0) -> Array:
    """Return points (..., 3) on the face at x and y, lifted by `above` metres."""
    x, y = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(y, np.float64))
    return np.stack([x, y, face_depth(x, y) + above], axis=-1)


def ellipsoid(centre: ArrayLike, half_axes: ArrayLike, columns: int, rows: int) -> Surface:
    """Return an ellipsoid as a grid of quads, poles on the y axis."""
    around = np.linspace(-np.pi, np.pi, columns, endpoint=False)
    height = np.linspace(-np.pi / 2, np.pi / 2, rows + 1)[:, None]
    grid = np.stack(
        np.broadcast_arrays(np.cos(height) * np.sin(around), np.sin(height), np.cos(height) * np.cos(around)), axis=-1
    )
    index = np.arange((rows + 1) * columns).reshape(rows + 1, columns)
    right = np.roll(index, -1, axis=1)
    quads = np.stack([index[:-1], right[:-1], right[1:], index[1:]], axis=-1).reshape(-1, 4)
    return Surface(grid.reshape(-1, 3) * np.asarray(half_axes) + np.asarray(centre), quads)


def head(columns: int, rows: int) -> Surface:
    """Return the head without hair: an ellipsoid with a jaw, and the relief of the face in front."""
    sphere = ellipsoid((0, 0, 0), (1, 1, 1), columns, rows)
    return Surface(_head_surface(sphere.vertices), sphere.quads)


def _head_surface(directions: Array) -> Array:
    """Return the points (N, 3) of the head's surface for the unit directions (N, 3) of a sphere."""
    y = directions[:, 1] * HALF_HEIGHT
    ring = np.maximum(np.hypot(directions[:, 0], directions[:, 2]), 1e-9)
    x = directions[:, 0] / ring * half_width(y)
    back = HALF_DEPTH * directions[:, 2] * (1.0 - 0.25 * np.clip(-y / HALF_HEIGHT, 0.0, 1.0))
    return np.stack([x, y, np.where(directions[:, 2] > 0, face_depth(x, y), back)], axis=1)


@cache
def head_points(count: int) -> Array:
    """Return `count` points (count, 3) spread evenly over the head without hair, by a Fibonacci lattice."""
    index = np.arange(count) + 0.5
    height, angle = 1.0 - 2.0 * index / count, index * np.pi * (3.0 - np.sqrt(5.0))
    radius = np.sqrt(1.0 - height**2)
    return _head_surface(np.stack([radius * np.sin(angle), height, radius * np.cos(angle)], axis=1))


def mouth_outline(opening: float, smile: float, inner: bool, points: int = 24) -> Array:
    """Return the outer or inner rim of the lips (points, 3) for an opening from 0 to 1."""
    angle = np.linspace(0.0, 2.0 * np.pi, points, endpoint=False)
    half = MOUTH_HALF_WIDTH * (1.0 + 0.15 * smile - 0.2 * opening) * (0.82 if inner else 1.0)
    x = half * np.cos(angle)
    up, down = (0.001, 0.001 + 0.022 * opening) if inner else (0.008, 0.010 + 0.024 * opening)
    lift = 0.006 * smile * (x / half) ** 2
    y = MOUTH_Y + np.where(np.sin(angle) > 0, up, down) * np.sin(angle) + lift
    return on_face(x, y, 0.001)


def landmarks(opening: float, brow_lift: float = 0.0, smile: float = 0.0) -> Array:
    """Return 106 points (106, 3) on the face: 33 jaw, 18 brows, 15 nose, 20 eyes, 20 mouth."""
    along = np.linspace(-1.0, 1.0, 33)
    jaw_y = -0.112 + 0.112 * np.abs(along) ** 1.4
    jaw = on_face(0.93 * half_width(jaw_y) * np.clip(along * 6.0, -1.0, 1.0), jaw_y)
    brow_x = np.linspace(0.013, 0.05, 9)
    brow_y = 0.04 + brow_lift + 0.006 * np.sin(np.linspace(0.3, 2.6, 9))
    angle = np.linspace(0.0, 2.0 * np.pi, 10, endpoint=False)
    eye_x, eye_y = EYE_X + 0.014 * np.cos(angle), EYE_Y + 0.006 * np.sin(angle)
    nose = [on_face(0.0, np.linspace(0.02, -0.022, 7)), on_face(np.linspace(-0.014, 0.014, 8), -0.031)]
    sides = [on_face(side * x, y) for x, y in ((brow_x, brow_y), (eye_x, eye_y)) for side in (-1, 1)]
    mouth = [mouth_outline(opening, smile, inner, points) for inner, points in ((False, 12), (True, 8))]
    return np.concatenate([jaw, sides[0], sides[1], *nose, sides[2], sides[3], *mouth])
