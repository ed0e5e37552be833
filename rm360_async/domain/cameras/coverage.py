"""How well a set of cameras covers the rig: largest azimuth gap, and angles to the nearest camera of the set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np

from rm360_async.domain.cameras.rig import Array, head_centre, rig

TIERS = ("upper", "middle", "eye-inner", "lower")


@dataclass(frozen=True)
class Coverage:
    """How well cameras cover the 60 rig positions.

    `gap` is the largest azimuth gap; `worst` and `mean` are of the angles from each of the 60 positions to
    its nearest camera of the set (mean over the positions without one); all in degrees.
    """

    gap: float
    worst: float
    mean: float
    tiers: dict[str, int]


def coverage(cameras: Iterable[str]) -> Coverage:
    """Return how well the cameras cover the rig; ids outside the rig do not count, no camera gives 360 and 180."""
    ids = set(cameras)
    indices = [index for index, camera in enumerate(rig()) if camera in ids]
    if not indices:
        return Coverage(360.0, 180.0, 180.0, {})
    nearest = separation()[:, indices].min(axis=1)
    of_others = np.delete(nearest, indices)
    tiers = [camera.tier for camera in rig().values() if camera.id in ids]
    counts = {tier: tiers.count(tier) for tier in TIERS if tier in tiers}
    mean = float(of_others.mean()) if of_others.size else 0.0
    return Coverage(largest_gap(azimuths()[indices]), float(nearest.max()), mean, counts)


def largest_gap(angles: Array) -> float:
    """Return the largest gap in degrees between neighbours of angles (N,) in degrees on the circle."""
    ordered = np.sort(angles)
    return float(np.diff(ordered, append=ordered[0] + 360.0).max())


@cache
def azimuths() -> Array:
    """Return the azimuths (60,) of the rig in degrees, in the order of ids."""
    return np.array([camera.azimuth for camera in rig().values()])


@cache
def directions() -> Array:
    """Return the unit vectors (60, 3) from the head centre to the cameras of the rig, in the order of ids."""
    offset = np.stack([camera.centre for camera in rig().values()]) - head_centre()
    return np.asarray(offset / np.linalg.norm(offset, axis=1, keepdims=True))


@cache
def separation() -> Array:
    """Return the angles (60, 60) in degrees between the cameras, seen from the head centre."""
    angles = np.degrees(np.arccos(np.clip(directions() @ directions().T, -1.0, 1.0)))
    np.fill_diagonal(angles, 0.0)
    return np.asarray(angles)
