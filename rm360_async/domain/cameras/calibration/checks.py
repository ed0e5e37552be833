"""Is this calibration what it says it is? One report, for a person and for a program.

Theory of operation: the reading of RT is settled first (`readings`), since every other number depends on it. When
another reading than the stated one fits better, that is the failure, and the other checks look at the cameras
read that way: they then say what else is wrong, not the same thing nine times over. What an input is too small
to tell (one camera has no common point with others) is "not checked", never "ok". Limits come from two real
calibrations with room to spare: axes missed the head by 54 mm at most, heads were 1.00 to 1.32 m away, principal
points 79 px off, cameras rolled by 4.1 degrees.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from rm360_async.domain.cameras.calibration.check import Cameras, Check, Matrices, graded, named
from rm360_async.domain.cameras.calibration.conventions import (
    STATED,
    PoseConvention,
    best_convention,
    placed,
    strays_of,
)
from rm360_async.domain.cameras.calibration.lens import check_distortion, check_in_frame, check_intrinsics, coefficients
from rm360_async.domain.cameras.calibration.rig_table import check_ids, check_origin
from rm360_async.domain.cameras.rig import Array, angles_about, tier_of
from rm360_async.domain.check_status import CheckState, worst_state

ORTHONORMAL = (1e-4, 1e-2)
"""Deviation of R from a rotation above which is a warning, and a failure."""
MISS_MM = (80.0, 200.0)
DISTANCE_M = (0.9, 1.45)
ROLL_DEG = (8.0, 25.0)
FITTING = 0.8
"""Share of the cameras that must fit the stated reading."""
_LARGEST = 1e7
"""No pixel, millimetre or coefficient comes near this; larger numbers are damage and would overflow."""
_SHORTEST_FOCAL = 1.0


@dataclass(frozen=True)
class CameraPosition:
    """Where one camera stands about the head: degrees and metres as in `rig`, `miss` of its axis in mm."""

    id: str
    azimuth: float
    elevation: float
    distance: float
    tier: str
    miss: float


@dataclass(frozen=True)
class CalibrationReport:
    """All checks of one calibration, how its RT was read, the head (3,) in metres, and where the cameras stand."""

    checks: tuple[Check, ...]
    reading: PoseConvention
    head: tuple[float, float, float] | None
    standings: tuple[CameraPosition, ...]
    matrices: Mapping[str, Array]
    """Camera-to-world, OpenCV, metres, whatever the reading was."""

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
) -> CalibrationReport:
    """Return the report on a calibration {id: K, D, RT}.

    `size` is (height, width) of the images in pixels, where known; `needed` are cameras that must have one.
    Nothing in the input raises: what is not finite or has another shape is a failed check.
    """
    usable = {camera: matrices for camera, matrices in sorted(cameras.items()) if _is_usable(matrices)}
    first = _check_readable(cameras, usable, sorted(needed))
    if not usable:
        return CalibrationReport((first,), STATED, None, (), {})
    stack = np.stack([np.asarray(each["RT"], np.float64) for each in usable.values()])
    reading, shares = best_convention(stack)
    reading = reading if shares[reading] > shares[STATED] + 0.2 else STATED
    setup = Cameras(
        tuple(usable),
        np.stack([np.asarray(each["K"], np.float64) for each in usable.values()]),
        tuple(coefficients(np.asarray(each["D"], np.float64)) for each in usable.values()),
        stack,
        placed(reading.apply(stack)),
        size,
    )
    checks = (first, _check_convention(setup, reading, shares), *(check(setup) for check in _CHECKS))
    head = setup.placement.head.tolist()
    matrices = dict(zip(setup.ids, setup.placement.matrices, strict=True))
    return CalibrationReport(checks, reading, (head[0], head[1], head[2]), _standings(setup), matrices)


def _is_usable(matrices: Matrices) -> bool:
    try:
        K, D, RT = (np.asarray(matrices[key], np.float64) for key in ("K", "D", "RT"))
    except (KeyError, TypeError, ValueError):
        return False
    bounded = all(bool((np.abs(each) < _LARGEST).all()) for each in (K, D, RT))  # false for what is not finite, too
    return bounded and K.shape == (3, 3) and RT.shape == (4, 4) and min(K[0, 0], K[1, 1]) > _SHORTEST_FOCAL


def _check_readable(cameras: Mapping[str, Matrices], usable: Mapping[str, Matrices], needed: list[str]) -> Check:
    bad = [camera for camera in sorted(cameras) if camera not in usable]
    lacking = [camera for camera in needed if camera not in cameras]
    problems = [f"{named(bad)} not finite, beyond all bounds, of another shape, or without focal length"] if bad else []
    problems += [f"{named(lacking)} with images but without calibration"] if lacking else []
    problems += ["there is none"] if not cameras else []
    if problems:
        count = float(len(bad) + len(lacking))
        return Check("present", CheckState.FAIL, "; ".join(problems), count, 0, "cameras")
    return Check("present", CheckState.OK, f"K, D and RT of {named(usable)} are finite", 0, 0, "cameras")


def _check_convention(setup: Cameras, reading: PoseConvention, shares: Mapping[PoseConvention, float]) -> Check:
    """Say whether RT is read best as stated: camera-to-world, OpenCV axes, metres, world up -Y."""
    stated = shares[STATED]
    basis = "" if setup.placement.own_head else "; too few directions, so the built-in rig's head was taken"
    seen = "have the head upright in front of them at 0.8 to 1.6 m"
    sentence = f"{STATED}: {stated:.0%} of the cameras {seen}"
    strays = strays_of(setup.ids, setup.RT, setup.placement) if reading is STATED and stated >= FITTING else {}
    state = CheckState.OK if stated == 1 else CheckState.WARN
    if reading is not STATED:
        sentence = (
            f"RT is not {STATED}, as it must be: read as {reading}, {shares[reading]:.0%} of the cameras {seen}, "
            f"and {stated:.0%} as stated; the checks below read it that way"
        )
    elif stated < FITTING:
        sentence = f"only {stated:.0%} of the cameras {seen}, and no other reading of RT fits better"
    elif strays:
        sentence += "".join(f"; {named(cameras)} read as {other}" for other, cameras in strays.items())
    elif stated < 1:
        sentence += f", not {named(setup.where(~setup.placement.fits))}"
    if reading is not STATED or stated < FITTING or strays:
        state = CheckState.FAIL
    return Check("convention", state, sentence + basis, stated, FITTING)


def _check_rotations(setup: Cameras) -> Check:
    rotations = setup.RT[:, :3, :3]
    deviation = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
    deviation = np.maximum(deviation, np.abs(setup.RT[:, 3] - [0, 0, 0, 1]).max(axis=1))
    mirrored = setup.where(np.linalg.det(rotations) < 0)
    worst = float(deviation.max())
    if mirrored:
        return Check(
            "rotations", CheckState.FAIL, f"R of {named(mirrored)} mirrors (determinant -1)", worst, ORTHONORMAL[1]
        )
    state = graded(worst, *ORTHONORMAL)
    sentence = f"R is orthonormal within {worst:.1g}"
    if state is not CheckState.OK:
        sentence = f"R of {named(setup.where(deviation > ORTHONORMAL[0]))} is no rotation: off by up to {worst:.2g}"
    return Check("rotations", state, sentence, worst, ORTHONORMAL[0])


def _check_axes(setup: Cameras) -> Check:
    if not setup.placement.own_head:
        sentence = "the optical axes of one camera, or of cameras side by side, do not fix a common point"
        return Check("axes meet", CheckState.UNCHECKED, sentence, None, MISS_MM[0], "mm")
    misses = setup.placement.misses * 1000
    point = ", ".join(f"{value:+.3f}" for value in setup.placement.head)
    sentence = f"the axes miss their nearest point ({point}) m by {misses.mean():.0f} mm on average, {misses.max():.0f}"
    sentence += f" mm at most (camera {setup.ids[int(misses.argmax())]})"
    return Check("axes meet", graded(float(misses.max()), *MISS_MM), sentence, float(misses.max()), MISS_MM[0], "mm")


def _check_distance(setup: Cameras) -> Check:
    distance = np.linalg.norm(setup.placement.offsets, axis=1)
    outside = (distance < DISTANCE_M[0]) | (distance > DISTANCE_M[1])
    low, high = float(distance.min()), float(distance.max())
    worst = high if high - DISTANCE_M[1] > DISTANCE_M[0] - low else low
    span = f"{low:.3f}" if low == high else f"{low:.3f} to {high:.3f}"
    sentence = f"cameras stand {span} m from the head"
    if outside.any():
        sentence += f"; {named(setup.where(outside))} outside of {DISTANCE_M[0]} to {DISTANCE_M[1]} m"
    limit = DISTANCE_M[1] if worst == high else DISTANCE_M[0]
    return Check("distance", CheckState.FAIL if outside.any() else CheckState.OK, sentence, worst, limit, "m")


def _check_roll(setup: Cameras) -> Check:
    roll = np.degrees(np.abs(np.arcsin(np.clip(setup.placement.matrices[:, 1, 0], -1, 1))))
    worst = float(roll.max())
    state = graded(worst, *ROLL_DEG)
    sentence = f"cameras stand level within {worst:.1f} degrees"
    if state is not CheckState.OK:
        sentence = f"{named(setup.where(roll > ROLL_DEG[0]))} rolled by up to {worst:.1f} degrees"
    return Check("level", state, sentence, worst, ROLL_DEG[0], "degrees")


def _standings(setup: Cameras) -> tuple[CameraPosition, ...]:
    where = angles_about(setup.placement.head, setup.placement.matrices[:, :3, 3])
    rows = zip(setup.ids, *(each.tolist() for each in where), setup.placement.misses.tolist(), strict=True)
    return tuple(
        CameraPosition(camera, azimuth, elevation, distance, tier_of(elevation), miss * 1000)
        for camera, azimuth, elevation, distance, miss in rows
    )


_CHECKS = (
    _check_rotations,
    _check_axes,
    _check_distance,
    _check_roll,
    check_in_frame,
    check_intrinsics,
    check_ids,
    check_origin,
    check_distortion,
)
