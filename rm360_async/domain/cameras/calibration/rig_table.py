"""Checks against the built-in rig: each id has that camera's position, and the origin is the same.

The rig is re-calibrated between sessions and not moved (0.4 degrees at most between two known calibrations), so
an id at the position of another carries the other's calibration.
"""

from __future__ import annotations

import numpy as np

from rm360_async.domain.cameras.calibration.check import CalibratedCameras, Check, cameras_text
from rm360_async.domain.cameras.coverage import directions
from rm360_async.domain.cameras.rig import Array, camera_centre, head_centre, rig
from rm360_async.domain.check_status import CheckState

MAX_DISPLACEMENT_DEGREES = 2.0
MAX_DISPLACED_SHARE = 0.5
"""If more cameras than this are displaced, it is another rig or another world, not swapped ids."""
ORIGIN_CAMERAS = ("02", "14", "29", "41")
"""The world's origin is the mean of these four camera centres, exactly, in both known calibrations."""
MAX_ORIGIN_OFFSET_MM = 5.0


def check_ids(calibrated: CalibratedCameras) -> Check:
    """Check that each camera stands where the rig's table has it, seen from the rig's head; name those swapped."""
    limit = MAX_DISPLACEMENT_DEGREES
    rig_ids = list(rig())
    in_rig = np.array([camera in rig() for camera in calibrated.ids])
    ids = calibrated.ids_where(in_rig)
    if not ids:
        return Check("ids", CheckState.UNCHECKED, "no camera of the rig's table is there", None, limit, "degrees")
    offset = calibrated.placement.matrices[in_rig, :3, 3] - head_centre()
    angles = _angles(offset / np.maximum(np.linalg.norm(offset, axis=1, keepdims=True), 1e-12), directions())
    own_angles = angles[np.arange(len(ids)), [rig_ids.index(camera) for camera in ids]]
    displaced = own_angles > limit
    worst = float(own_angles.max())
    unknown = f"; {cameras_text(calibrated.ids_where(~in_rig))} not in the rig's table" if not in_rig.all() else ""
    if not displaced.any():
        sentence = f"each camera stands where the rig's table has it, within {worst:.2f} degrees{unknown}"
        return Check("ids", CheckState.OK, sentence, worst, limit, "degrees")
    if len(ids) > 2 and displaced.mean() > MAX_DISPLACED_SHARE:
        sentence = f"most cameras ({displaced.sum()} of {len(ids)}) do not stand where the rig's table has them"
        sentence += f", by {np.median(own_angles):.1f} degrees in the middle: another rig, or another world{unknown}"
        return Check("ids", CheckState.FAIL, sentence, worst, limit, "degrees")
    rows = np.flatnonzero(displaced)
    nearest = {ids[row]: rig_ids[int(angles[row].argmin())] for row in rows}
    is_at_nearest = {ids[row]: bool(angles[row].min() <= limit) for row in rows}
    own_angle = {ids[row]: float(own_angles[row]) for row in rows}
    sentence = _displaced_text(nearest, is_at_nearest, own_angle) + unknown
    return Check("ids", CheckState.FAIL, sentence, worst, limit, "degrees")


def _angles(first: Array, second: Array) -> Array:
    """Return the angles (N, M) in degrees between unit vectors (N, 3) and (M, 3)."""
    return np.asarray(np.degrees(np.arccos(np.clip(first @ second.T, -1.0, 1.0))))


def _displaced_text(nearest: dict[str, str], is_at_nearest: dict[str, bool], own_angle: dict[str, float]) -> str:
    """Return the displaced cameras as text: first pairs that are swapped, then the rest.

    By camera: the nearest camera of the rig, whether it stands there, and its angle in degrees to its own position.
    """
    swapped = [
        (a, b) for a, b in nearest.items() if a < b and nearest.get(b) == a and is_at_nearest[a] and is_at_nearest[b]
    ]
    in_pair = {camera for pair in swapped for camera in pair}
    parts = [f"cameras {a} and {b} are swapped: each has the other's calibration" for a, b in swapped]
    for camera, other in nearest.items():
        if camera not in in_pair:
            is_at_other = is_at_nearest[camera] and other != camera
            where = f"where {other} belongs" if is_at_other else "where no camera belongs"
            parts.append(f"camera {camera} stands {own_angle[camera]:.1f} degrees from its place, {where}")
    return "; ".join(parts)


def check_origin(calibrated: CalibratedCameras) -> Check:
    """Check that the world's origin is the mean of the four cameras that define it."""
    limit = MAX_ORIGIN_OFFSET_MM
    cameras = " ".join(ORIGIN_CAMERAS)
    missing = [camera for camera in ORIGIN_CAMERAS if camera not in calibrated.ids]
    if missing:
        sentence = f"needs cameras {cameras}; {cameras_text(missing)} not there"
        return Check("origin", CheckState.UNCHECKED, sentence, None, limit, "mm")
    rows = [calibrated.ids.index(camera) for camera in ORIGIN_CAMERAS]
    centres = np.stack([camera_centre(calibrated.placement.matrices[row]) for row in rows])
    offset = float(np.linalg.norm(centres.mean(axis=0))) * 1000
    if offset <= limit:
        return Check("origin", CheckState.OK, f"the origin is the middle of cameras {cameras}", offset, limit, "mm")
    sentence = (
        f"the middle of cameras {cameras} is {offset:.0f} mm from the origin; in known calibrations it is the origin"
    )
    return Check("origin", CheckState.WARN, sentence, offset, limit, "mm")
