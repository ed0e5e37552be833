"""Checks of what belongs to each lens: is the head in its frame, is K one of the rig's, is there distortion?"""

from __future__ import annotations

import numpy as np

from rm360_async.domain.cameras.calibration.check import Cameras, Check, named
from rm360_async.domain.cameras.rig import Array
from rm360_async.domain.check_status import CheckState

FOCAL_PER_WIDTH = 4715 / 2448
"""Focal length per image width of the rig's cameras."""
OFF_CENTRE = 0.05
"""How far from the middle the principal point may be, as a share of the image width."""
_USUAL_CORNER = 0.36
"""How far (as tangent) a corner of the rig's images lies from the axis, for images whose size is not known."""
_NO_SIZE = "there is no image, so the image size is not known"


def check_in_frame(setup: Cameras) -> Check:
    """Say whether the head's middle is in the frame of every camera, without lens distortion."""
    if setup.size is None:
        return Check("head in frame", CheckState.UNCHECKED, _NO_SIZE)
    height, width = setup.size
    in_camera = (setup.placement.matrices[:, :3, :3].transpose(0, 2, 1) @ setup.placement.offsets[:, :, None])[:, :, 0]
    depth = np.where(in_camera[:, 2:] > 0, in_camera[:, 2:], np.nan)
    pixels = (setup.K[:, :2] @ (in_camera / depth)[:, :, None])[:, :, 0]
    inside = ((pixels >= 0) & (pixels < [width, height])).all(axis=1)
    outside = setup.where(np.logical_not(inside))
    sentence = f"the head's middle is in frame ({width} x {height} px) in all {len(setup.ids)}"
    if outside:
        sentence = f"the head's middle is not in the frame of {width} x {height} px of {named(outside)}"
    state = CheckState.FAIL if outside else CheckState.OK
    return Check("head in frame", state, sentence, float(len(outside)), 0, "cameras")


def check_intrinsics(setup: Cameras) -> Check:
    """Say whether K is one of the rig's cameras for this image size: scaled with the images, or not."""
    if setup.size is None:
        return Check("intrinsics", CheckState.UNCHECKED, _NO_SIZE)
    height, width = setup.size
    focal = setup.K[:, [0, 1], [0, 1]]
    odd_focal = np.abs(focal / (FOCAL_PER_WIDTH * width) - 1).max(axis=1) > 0.05
    skewed = (np.abs(focal[:, 0] / focal[:, 1] - 1) > 0.01) | (np.abs(setup.K[:, 0, 1]) > 1e-6 * focal[:, 0])
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    off = np.abs(setup.K[:, :2, 2] - middle).max(axis=1)
    worst, limit = float(off.max()), OFF_CENTRE * width
    sentence = (
        f"fx {focal[:, 0].min():.0f} to {focal[:, 0].max():.0f} px, principal points off centre by {worst:.0f} px"
    )
    problems = [
        f"{named(setup.where(mask))} {what}"
        for mask, what in (
            (odd_focal, f"not near fx {FOCAL_PER_WIDTH * width:.0f} px, the rig's for a width of {width}"),
            (skewed, "with fx not equal to fy, or with skew"),
            (off > limit, f"with a principal point more than {limit:.0f} px off centre"),
        )
        if mask.any()
    ]
    state = CheckState.WARN if problems else CheckState.OK
    return Check("intrinsics", state, "; ".join([sentence, *problems]), worst, limit, "px")


def check_distortion(setup: Cameras) -> Check:
    """Say whether lens distortion is stored, and whether it folds back inside the image."""
    present = np.array([bool(D.any()) for D in setup.D])
    if not present.any():
        return Check("distortion", CheckState.OK, "D is zero for all cameras: no lens distortion is stored")
    folds = np.array([fold_radius(D) for D in setup.D])
    corners = np.array([corner_radius(K, setup.size) if setup.size else _USUAL_CORNER for K in setup.K])
    inside = folds < corners
    sentence = f"{named(setup.where(present))} with lens distortion"
    if not inside.any():
        return Check("distortion", CheckState.OK, f"{sentence}; it folds nowhere inside the image")
    least = int(np.where(inside, folds, np.inf).argmin())
    sentence += (
        f"; it folds back inside the image of {named(setup.where(inside))}, nearest the axis in camera "
        f"{setup.ids[least]} at {folds[least] * setup.K[least, 0, 0]:.0f} px: trust it at the head only"
    )
    return Check("distortion", CheckState.WARN, sentence, float(folds[least]), float(corners[least]), "tangent")


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
