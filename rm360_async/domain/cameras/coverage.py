"""How well a set of cameras covers the rig: azimuth gap and angle to the nearest kept camera."""

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

    `gap` is the largest azimuth gap; `worst` and `mean` are over the angles from each of the 60 positions to
    its nearest kept camera (mean over the positions that are not kept); all in degrees.
    """

    gap: float
    worst: float
    mean: float
    tiers: dict[str, int]


def coverage(cameras: Iterable[str]) -> Coverage:
    """Return how well the cameras cover the rig; ids outside the rig are not counted, none gives 360 and 180."""
    wanted = set(cameras)
    kept = [index for index, camera in enumerate(rig()) if camera in wanted]
    if not kept:
        return Coverage(360.0, 180.0, 180.0, {})
    nearest = separation()[:, kept].min(axis=1)
    held_out = np.delete(nearest, kept)
    tiers = [camera.tier for camera in rig().values() if camera.id in wanted]
    counts = {tier: tiers.count(tier) for tier in TIERS if tier in tiers}
    mean = float(held_out.mean()) if held_out.size else 0.0
    return Coverage(largest_gap(azimuths()[kept]), float(nearest.max()), mean, counts)


def largest_gap(angles: Array) -> float:
    """Return the largest gap between neighbours on the circle of angles (N,), in degrees."""
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
