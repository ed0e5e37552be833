"""Lens distortion: is there any, and where does its radial map fold back?

D is k1 k2 p1 p2 k3 as in OpenCV. A radial map r (1 + k1 r^2 + k2 r^4 + k3 r^6) that was fitted to points near
the middle may turn round further out: from there on two places of the world share one pixel, and undistorting
makes nonsense. One of two known calibrations does so in 19 of its 60 cameras.
"""

from __future__ import annotations

import numpy as np

from rm360_async.geometry.rig import Array

_NOTHING = 1e-9
"""A coefficient below this moves no pixel, and would overflow what is divided by it."""


def coefficients(D: Array) -> Array:
    """Return k1 k2 p1 p2 k3 (5,) of a D of any shape; what it lacks is 0."""
    flat = np.zeros(5)
    given = np.asarray(D, np.float64).reshape(-1)[:5]
    flat[: len(given)] = given
    return flat


def fold_radius(D: Array) -> float:
    """Return the distance from the axis (as tangent, 1 is 45 degrees) at which the map folds back; inf for never."""
    k1, k2, _, _, k3 = coefficients(D)
    slope = np.array([7 * k3, 5 * k2, 3 * k1, 1.0])  # in r^2
    roots = np.roots(np.where(np.abs(slope) < _NOTHING, 0.0, slope))
    squares = [root.real for root in np.atleast_1d(roots).tolist() if abs(root.imag) < 1e-9 and root.real > 0]
    return float(np.sqrt(min(squares))) if squares else float("inf")


def corner_radius(K: Array, size: tuple[int, int]) -> float:
    """Return how far (as tangent) the farthest corner of an image of (height, width) lies from the axis."""
    height, width = size
    across = max(K[0, 2] + 0.5, width - 0.5 - K[0, 2]) / K[0, 0]
    down = max(K[1, 2] + 0.5, height - 0.5 - K[1, 2]) / K[1, 1]
    return float(np.hypot(across, down))
