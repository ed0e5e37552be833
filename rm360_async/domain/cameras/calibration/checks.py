"""Checks of a whole calibration, collected in one result for a person and for a program.

Theory of operation: the convention of RT is decided first (`conventions`), since every other number depends on it.
If another convention than the stated one fits better, that is the failure, and the other checks look at the cameras
converted from that convention: they then report what else is wrong, instead of the same fault nine times. What
cannot be decided from so few cameras (one camera has no common point with others) is "not checked", never "ok".
Limits come from two real calibrations with a margin: axes missed the head by 54 mm at most, heads were 1.00 to
1.32 m away, principal points 79 px off, cameras rolled by 4.1 degrees.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from rm360_async.domain.cameras.calibration.check import CalibratedCameras, Check, Matrices, cameras_text
from rm360_async.domain.cameras.calibration.conventions import (
    STATED_CONVENTION,
    PoseConvention,
    best_convention,
    outliers_by_convention,
    place_cameras,
)
from rm360_async.domain.cameras.calibration.lens import (
    check_distortion,
    check_in_frame,
    check_intrinsics,
    distortion_coefficients,
)
from rm360_async.domain.cameras.calibration.poses import check_axes, check_distance, check_roll, check_rotations
from rm360_async.domain.cameras.calibration.rig_table import check_ids, check_origin
from rm360_async.domain.cameras.rig import Array, angles_about, tier_of
from rm360_async.domain.check_status import CheckState, worst_state

MIN_FITTING_SHARE = 0.8
"""Share of the cameras that must fit the stated convention."""
MIN_ADVANTAGE = 0.2
"""Another convention is assumed only if it fits a share of the cameras that is larger by more than this."""
MAX_VALUE = 1e7
"""No pixel, millimetre or coefficient comes near this; larger numbers are damage and would overflow."""
MIN_FOCAL_LENGTH_PX = 1.0


@dataclass(frozen=True)
class CameraPosition:
    """Position of one camera relative to the head: degrees and metres as in `rig`.

    `miss_mm` is the distance at which its optical axis passes the head.
    """

    id: str
    azimuth: float
    elevation: float
    distance: float
    tier: str
    miss_mm: float


@dataclass(frozen=True)
class CalibrationResult:
    """All checks of one calibration, the convention of its RT, the head (3,) in metres, and the cameras' positions."""

    checks: tuple[Check, ...]
    convention: PoseConvention
    head: tuple[float, float, float] | None
    positions: tuple[CameraPosition, ...]
    matrices: Mapping[str, Array]
    """Camera-to-world (4, 4), OpenCV axes, metres, whatever the convention of the input was."""

    @property
    def state(self) -> CheckState:
        """Return the worst state of the checks, disregarding those that were not possible."""
        return worst_state((check.state for check in self.checks), CheckState.OK)

    @property
    def failures(self) -> tuple[Check, ...]:
        """Return the checks that failed."""
        return tuple(check for check in self.checks if check.state is CheckState.FAIL)


def check_calibration(
    cameras: Mapping[str, Matrices], size: tuple[int, int] | None = None, needed: Iterable[str] = ()
) -> CalibrationResult:
    """Return the checks of a calibration {id: K, D, RT}.

    `size` is (height, width) of the images in pixels, where known; the cameras in `needed` must have a calibration.
    Nothing in the input raises: a value that is not finite or has another shape is a failed check.
    """
    usable = {camera: matrices for camera, matrices in sorted(cameras.items()) if is_usable(matrices)}
    present = _check_present(cameras, usable, sorted(needed))
    if not usable:
        return CalibrationResult((present,), STATED_CONVENTION, None, (), {})
    stored_poses = np.stack([np.asarray(matrices["RT"], np.float64) for matrices in usable.values()])
    convention, shares = _decide_convention(stored_poses)
    calibrated = CalibratedCameras(
        tuple(usable),
        np.stack([np.asarray(matrices["K"], np.float64) for matrices in usable.values()]),
        tuple(distortion_coefficients(np.asarray(matrices["D"], np.float64)) for matrices in usable.values()),
        stored_poses,
        place_cameras(convention.to_stated(stored_poses)),
        size,
    )
    checks = (present, _check_convention(calibrated, convention, shares), *(check(calibrated) for check in _CHECKS))
    x, y, z = calibrated.placement.head.tolist()
    matrices = dict(zip(calibrated.ids, calibrated.placement.matrices, strict=True))
    return CalibrationResult(checks, convention, (x, y, z), _camera_positions(calibrated), matrices)


def is_usable(matrices: Matrices) -> bool:
    """Return True if K, D and RT have their shapes, and finite values that a camera can have."""
    try:
        K, D, RT = (np.asarray(matrices[key], np.float64) for key in ("K", "D", "RT"))
    except (KeyError, TypeError, ValueError):
        return False
    is_bounded = all(bool((np.abs(array) < MAX_VALUE).all()) for array in (K, D, RT))  # False for what is not finite
    return is_bounded and K.shape == (3, 3) and RT.shape == (4, 4) and min(K[0, 0], K[1, 1]) > MIN_FOCAL_LENGTH_PX


def _decide_convention(stored_poses: Array) -> tuple[PoseConvention, Mapping[PoseConvention, float]]:
    """Return the convention to assume, and the share of cameras that fits each that was tried."""
    best, shares = best_convention(stored_poses)
    return (best if shares[best] > shares[STATED_CONVENTION] + MIN_ADVANTAGE else STATED_CONVENTION), shares


def _check_present(cameras: Mapping[str, Matrices], usable: Mapping[str, Matrices], needed: list[str]) -> Check:
    bad = [camera for camera in sorted(cameras) if camera not in usable]
    missing = [camera for camera in needed if camera not in cameras]
    problems = []
    if bad:
        problems.append(f"{cameras_text(bad)} not finite, beyond all bounds, of another shape, or without focal length")
    if missing:
        problems.append(f"{cameras_text(missing)} with images but without calibration")
    if not cameras:
        problems.append("there is none")
    if problems:
        count = float(len(bad) + len(missing))
        return Check("present", CheckState.FAIL, "; ".join(problems), count, 0, "cameras")
    return Check("present", CheckState.OK, f"K, D and RT of {cameras_text(usable)} are finite", 0, 0, "cameras")


def _check_convention(
    calibrated: CalibratedCameras, convention: PoseConvention, shares: Mapping[PoseConvention, float]
) -> Check:
    """Check that RT fits the stated convention best: camera-to-world, OpenCV axes, metres, world up -Y."""
    stated_share = shares[STATED_CONVENTION]
    note = "" if calibrated.placement.own_head else "; too few directions, so the built-in rig's head was taken"
    fits = "have the head upright in front of them at 0.8 to 1.6 m"
    sentence = f"{STATED_CONVENTION}: {stated_share:.0%} of the cameras {fits}"
    outliers: Mapping[PoseConvention, list[str]] = {}
    if convention is STATED_CONVENTION and stated_share >= MIN_FITTING_SHARE:
        outliers = outliers_by_convention(calibrated.ids, calibrated.RT, calibrated.placement)
    if convention is not STATED_CONVENTION:
        sentence = (
            f"RT is not {STATED_CONVENTION}, as it must be: read as {convention}, {shares[convention]:.0%} of the "
            f"cameras {fits}, and {stated_share:.0%} as stated; the checks below read it that way"
        )
    elif stated_share < MIN_FITTING_SHARE:
        sentence = f"only {stated_share:.0%} of the cameras {fits}, and no other reading of RT fits better"
    elif outliers:
        sentence += "".join(f"; {cameras_text(ids)} read as {other}" for other, ids in outliers.items())
    elif stated_share < 1:
        sentence += f", not {cameras_text(calibrated.ids_where(~calibrated.placement.fits))}"
    state = CheckState.OK if stated_share == 1 else CheckState.WARN
    if convention is not STATED_CONVENTION or stated_share < MIN_FITTING_SHARE or outliers:
        state = CheckState.FAIL
    return Check("convention", state, sentence + note, stated_share, MIN_FITTING_SHARE)


def _camera_positions(calibrated: CalibratedCameras) -> tuple[CameraPosition, ...]:
    placement = calibrated.placement
    angles = angles_about(placement.head, placement.matrices[:, :3, 3])
    rows = zip(calibrated.ids, *(array.tolist() for array in angles), placement.misses.tolist(), strict=True)
    return tuple(
        CameraPosition(camera, azimuth, elevation, distance, tier_of(elevation), miss * 1000)
        for camera, azimuth, elevation, distance, miss in rows
    )


_CHECKS = (
    check_rotations,
    check_axes,
    check_distance,
    check_roll,
    check_in_frame,
    check_intrinsics,
    check_ids,
    check_origin,
    check_distortion,
)
