"""Checks of each lens: the head is in the frame, K is one of the rig's, and distortion does not fold the image."""

from __future__ import annotations

import numpy as np

from rm360_async.domain.cameras.calibration.check import CalibratedCameras, Check, cameras_text
from rm360_async.domain.cameras.rig import Array
from rm360_async.domain.check_status import CheckState

FOCAL_PER_WIDTH = 4715 / 2448
"""Focal length per image width of the rig's cameras."""
MAX_FOCAL_DEVIATION = 0.05
MAX_ASPECT_DEVIATION = 0.01
MAX_SKEW_PER_FOCAL = 1e-6
MAX_PRINCIPAL_OFFSET = 0.05
"""Largest distance of the principal point from the image centre, as a share of the image width."""
RIG_CORNER_RADIUS = 0.36
"""Distance (as tangent) of a corner of the rig's images from the axis, for images whose size is unknown."""
MIN_COEFFICIENT = 1e-9
"""A smaller distortion coefficient moves no pixel, and a division by it would overflow."""
_UNKNOWN_SIZE = "there is no image, so the image size is not known"


def check_in_frame(calibrated: CalibratedCameras) -> Check:
    """Check that the head's centre is in the frame of every camera, without lens distortion."""
    if calibrated.size is None:
        return Check("head in frame", CheckState.UNCHECKED, _UNKNOWN_SIZE)
    height, width = calibrated.size
    placement = calibrated.placement
    in_camera = (placement.matrices[:, :3, :3].transpose(0, 2, 1) @ placement.offsets[:, :, None])[:, :, 0]
    depth = np.where(in_camera[:, 2:] > 0, in_camera[:, 2:], np.nan)
    pixels = (calibrated.K[:, :2] @ (in_camera / depth)[:, :, None])[:, :, 0]
    inside = ((pixels >= 0) & (pixels < [width, height])).all(axis=1)
    outside = calibrated.ids_where(np.logical_not(inside))
    sentence = f"the head's middle is in frame ({width} x {height} px) in all {len(calibrated.ids)}"
    if outside:
        sentence = f"the head's middle is not in the frame of {width} x {height} px of {cameras_text(outside)}"
    state = CheckState.FAIL if outside else CheckState.OK
    return Check("head in frame", state, sentence, float(len(outside)), 0, "cameras")


def check_intrinsics(calibrated: CalibratedCameras) -> Check:
    """Check that K is that of the rig's cameras for this image size, scaled together with the images."""
    if calibrated.size is None:
        return Check("intrinsics", CheckState.UNCHECKED, _UNKNOWN_SIZE)
    height, width = calibrated.size
    focal = calibrated.K[:, [0, 1], [0, 1]]
    unusual_focal = np.abs(focal / (FOCAL_PER_WIDTH * width) - 1).max(axis=1) > MAX_FOCAL_DEVIATION
    skew = np.abs(calibrated.K[:, 0, 1])
    skewed = (np.abs(focal[:, 0] / focal[:, 1] - 1) > MAX_ASPECT_DEVIATION) | (skew > MAX_SKEW_PER_FOCAL * focal[:, 0])
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    offset = np.abs(calibrated.K[:, :2, 2] - centre).max(axis=1)
    worst, limit = float(offset.max()), MAX_PRINCIPAL_OFFSET * width
    sentence = (
        f"fx {focal[:, 0].min():.0f} to {focal[:, 0].max():.0f} px, principal points off centre by {worst:.0f} px"
    )
    problems = [
        f"{cameras_text(calibrated.ids_where(mask))} {problem}"
        for mask, problem in (
            (unusual_focal, f"not near fx {FOCAL_PER_WIDTH * width:.0f} px, the rig's for a width of {width}"),
            (skewed, "with fx not equal to fy, or with skew"),
            (offset > limit, f"with a principal point more than {limit:.0f} px off centre"),
        )
        if mask.any()
    ]
    state = CheckState.WARN if problems else CheckState.OK
    return Check("intrinsics", state, "; ".join([sentence, *problems]), worst, limit, "px")


def check_distortion(calibrated: CalibratedCameras) -> Check:
    """Check that the lens distortion, if any is stored, does not fold back inside the image."""
    has_distortion = np.array([bool(D.any()) for D in calibrated.D])
    if not has_distortion.any():
        return Check("distortion", CheckState.OK, "D is zero for all cameras: no lens distortion is stored")
    folds = np.array([fold_radius(D) for D in calibrated.D])
    size = calibrated.size
    corners = np.array([corner_radius(K, size) if size else RIG_CORNER_RADIUS for K in calibrated.K])
    inside = folds < corners
    sentence = f"{cameras_text(calibrated.ids_where(has_distortion))} with lens distortion"
    if not inside.any():
        return Check("distortion", CheckState.OK, f"{sentence}; it folds nowhere inside the image")
    worst = int(np.where(inside, folds, np.inf).argmin())
    sentence += (
        f"; it folds back inside the image of {cameras_text(calibrated.ids_where(inside))}, nearest the axis in camera "
        f"{calibrated.ids[worst]} at {folds[worst] * calibrated.K[worst, 0, 0]:.0f} px: trust it at the head only"
    )
    return Check("distortion", CheckState.WARN, sentence, float(folds[worst]), float(corners[worst]), "tangent")


def distortion_coefficients(D: Array) -> Array:
    """Return k1 k2 p1 p2 k3 (5,) of a D of any shape; missing ones are 0."""
    coefficients = np.zeros(5)
    stored = np.asarray(D, np.float64).reshape(-1)[:5]
    coefficients[: len(stored)] = stored
    return coefficients


def fold_radius(D: Array) -> float:
    """Return the distance from the axis (as tangent, 1 is 45 degrees) at which distortion folds back; inf for never."""
    k1, k2, _, _, k3 = distortion_coefficients(D)
    slope = np.array([7 * k3, 5 * k2, 3 * k1, 1.0])  # d(distorted radius)/dr, a polynomial in r^2
    roots = np.roots(np.where(np.abs(slope) < MIN_COEFFICIENT, 0.0, slope))
    squares = [root.real for root in np.atleast_1d(roots).tolist() if abs(root.imag) < 1e-9 and root.real > 0]
    return float(np.sqrt(min(squares))) if squares else float("inf")


def corner_radius(K: Array, size: tuple[int, int]) -> float:
    """Return the distance (as tangent) of the farthest corner of an image of (height, width) px from the axis."""
    height, width = size
    across = max(K[0, 2] + 0.5, width - 0.5 - K[0, 2]) / K[0, 0]
    down = max(K[1, 2] + 0.5, height - 0.5 - K[1, 2]) / K[1, 1]
    return float(np.hypot(across, down))
