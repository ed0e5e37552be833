"""Checks of the cameras' poses: rotation matrices, optical axes, distances to the head, and roll."""

from __future__ import annotations

import numpy as np

from rm360_async.domain.cameras.calibration.check import CalibratedCameras, Check, cameras_text, grade
from rm360_async.domain.check_status import CheckState

ROTATION_LIMITS = (1e-4, 1e-2)
"""Deviation of R from a rotation above which is a warning, and a failure."""
AXIS_MISS_LIMITS_MM = (80.0, 200.0)
ROLL_LIMITS_DEGREES = (8.0, 25.0)
DISTANCE_RANGE_M = (0.9, 1.45)


def check_rotations(calibrated: CalibratedCameras) -> Check:
    """Check that R is a rotation: orthonormal, and not mirrored."""
    rotations = calibrated.RT[:, :3, :3]
    deviation = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
    deviation = np.maximum(deviation, np.abs(calibrated.RT[:, 3] - [0, 0, 0, 1]).max(axis=1))
    mirrored = calibrated.ids_where(np.linalg.det(rotations) < 0)
    worst = float(deviation.max())
    if mirrored:
        sentence = f"R of {cameras_text(mirrored)} mirrors (determinant -1)"
        return Check("rotations", CheckState.FAIL, sentence, worst, ROTATION_LIMITS[1])
    state = grade(worst, *ROTATION_LIMITS)
    sentence = f"R is orthonormal within {worst:.1g}"
    if state is not CheckState.OK:
        bad = cameras_text(calibrated.ids_where(deviation > ROTATION_LIMITS[0]))
        sentence = f"R of {bad} is not a rotation: off by up to {worst:.2g}"
    return Check("rotations", state, sentence, worst, ROTATION_LIMITS[0])


def check_axes(calibrated: CalibratedCameras) -> Check:
    """Check that the optical axes meet near one point."""
    limit = AXIS_MISS_LIMITS_MM[0]
    if not calibrated.placement.own_head:
        sentence = "the optical axes of one camera, or of cameras side by side, do not fix a common point"
        return Check("axes meet", CheckState.UNCHECKED, sentence, None, limit, "mm")
    misses = calibrated.placement.misses * 1000
    worst = float(misses.max())
    point = ", ".join(f"{value:+.3f}" for value in calibrated.placement.head)
    sentence = f"the axes miss their nearest point ({point}) m by {misses.mean():.0f} mm on average, {worst:.0f}"
    sentence += f" mm at most (camera {calibrated.ids[int(misses.argmax())]})"
    return Check("axes meet", grade(worst, *AXIS_MISS_LIMITS_MM), sentence, worst, limit, "mm")


def check_distance(calibrated: CalibratedCameras) -> Check:
    """Check that each camera stands as far from the head as in the rig."""
    nearest_allowed, farthest_allowed = DISTANCE_RANGE_M
    distances = np.linalg.norm(calibrated.placement.offsets, axis=1)
    outside = (distances < nearest_allowed) | (distances > farthest_allowed)
    low, high = float(distances.min()), float(distances.max())
    worst = high if high - farthest_allowed > nearest_allowed - low else low
    span = f"{low:.3f}" if low == high else f"{low:.3f} to {high:.3f}"
    sentence = f"cameras stand {span} m from the head"
    if outside.any():
        sentence += (
            f"; {cameras_text(calibrated.ids_where(outside))} outside of {nearest_allowed} to {farthest_allowed} m"
        )
    limit = farthest_allowed if worst == high else nearest_allowed
    return Check("distance", CheckState.FAIL if outside.any() else CheckState.OK, sentence, worst, limit, "m")


def check_roll(calibrated: CalibratedCameras) -> Check:
    """Check that the cameras stand level."""
    roll = np.degrees(np.abs(np.arcsin(np.clip(calibrated.placement.matrices[:, 1, 0], -1, 1))))
    worst = float(roll.max())
    state = grade(worst, *ROLL_LIMITS_DEGREES)
    sentence = f"cameras stand level within {worst:.1f} degrees"
    if state is not CheckState.OK:
        bad = calibrated.ids_where(roll > ROLL_LIMITS_DEGREES[0])
        sentence = f"{cameras_text(bad)} rolled by up to {worst:.1f} degrees"
    return Check("level", state, sentence, worst, ROLL_LIMITS_DEGREES[0], "degrees")
