"""Checks against the built-in rig: does each id stand where that camera stands, and is the origin where it was?

The rig is re-calibrated between sessions and not moved (0.4 degrees at most between two known calibrations), so
an id that stands in another's place carries another's calibration.
"""

from __future__ import annotations

import numpy as np

from rm360_async.domain.cameras.calibration.check import Cameras, Check, named
from rm360_async.domain.cameras.coverage import directions
from rm360_async.domain.cameras.rig import Array, camera_centre, head_centre, rig
from rm360_async.domain.check_status import CheckState

PLACE_DEG = 2.0
ORIGIN_CAMERAS = ("02", "14", "29", "41")
"""The world's origin is the middle of these four, exactly, in both known calibrations."""
ORIGIN_MM = 5.0


def check_ids(setup: Cameras) -> Check:
    """Say whether each camera stands where the rig's table has it, seen from the rig's head; else which are swapped."""
    ids = list(rig())
    known = np.array([camera in rig() for camera in setup.ids])
    here = setup.where(known)
    if not here:
        return Check("ids", CheckState.UNCHECKED, "no camera of the rig's table is there", None, PLACE_DEG, "degrees")
    offset = setup.placement.matrices[known, :3, 3] - head_centre()
    angles = _angles(offset / np.maximum(np.linalg.norm(offset, axis=1, keepdims=True), 1e-12), directions())
    own = angles[np.arange(len(here)), [ids.index(camera) for camera in here]]
    away = own > PLACE_DEG
    strange = f"; {named(setup.where(~known))} not in the rig's table" if not known.all() else ""
    worst = float(own.max())
    if not away.any():
        sentence = f"each camera stands where the rig's table has it, within {worst:.2f} degrees{strange}"
        return Check("ids", CheckState.OK, sentence, worst, PLACE_DEG, "degrees")
    if len(here) > 2 and away.mean() > 0.5:
        sentence = f"most cameras ({away.sum()} of {len(here)}) do not stand where the rig's table has them"
        sentence += f", by {np.median(own):.1f} degrees in the middle: another rig, or another world{strange}"
        return Check("ids", CheckState.FAIL, sentence, worst, PLACE_DEG, "degrees")
    nearest = {here[row]: ids[int(angles[row].argmin())] for row in np.flatnonzero(away)}
    fits = {here[row]: bool(angles[row].min() <= PLACE_DEG) for row in np.flatnonzero(away)}
    degrees = {here[row]: float(own[row]) for row in np.flatnonzero(away)}
    return Check("ids", CheckState.FAIL, _displaced(nearest, fits, degrees) + strange, worst, PLACE_DEG, "degrees")


def _angles(one: Array, other: Array) -> Array:
    return np.asarray(np.degrees(np.arccos(np.clip(one @ other.T, -1.0, 1.0))))


def _displaced(nearest: dict[str, str], fits: dict[str, bool], degrees: dict[str, float]) -> str:
    """Return who stands where: pairs that have each other's place, then the rest."""
    swapped = [(a, b) for a, b in nearest.items() if a < b and nearest.get(b) == a and fits[a] and fits[b]]
    said = {camera for pair in swapped for camera in pair}
    parts = [f"cameras {a} and {b} are swapped: each has the other's calibration" for a, b in swapped]
    for camera, place in nearest.items():
        if camera not in said:
            where = f"where {place} belongs" if fits[camera] and place != camera else "where no camera belongs"
            parts.append(f"camera {camera} stands {degrees[camera]:.1f} degrees from its place, {where}")
    return "; ".join(parts)


def check_origin(setup: Cameras) -> Check:
    """Say whether the world's origin is the middle of the four cameras that define it."""
    lacking = [camera for camera in ORIGIN_CAMERAS if camera not in setup.ids]
    if lacking:
        sentence = f"needs cameras {' '.join(ORIGIN_CAMERAS)}; {named(lacking)} not there"
        return Check("origin", CheckState.UNCHECKED, sentence, None, ORIGIN_MM, "mm")
    rows = [setup.ids.index(camera) for camera in ORIGIN_CAMERAS]
    centres = np.stack([camera_centre(setup.placement.matrices[row]) for row in rows])
    away = float(np.linalg.norm(centres.mean(axis=0))) * 1000
    four = " ".join(ORIGIN_CAMERAS)
    if away <= ORIGIN_MM:
        return Check("origin", CheckState.OK, f"the origin is the middle of cameras {four}", away, ORIGIN_MM, "mm")
    sentence = f"the middle of cameras {four} is {away:.0f} mm from the origin; in known calibrations it is the origin"
    return Check("origin", CheckState.WARN, sentence, away, ORIGIN_MM, "mm")
