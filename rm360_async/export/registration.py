"""Where a picture lies relative to the one that it should be, and whether it shows the same.

Theory of operation: the shift is the least-squares solution of Lucas and Kanade, with a gain and an offset of
brightness beside it; both pictures are smoothed alike first, so that neither noise nor another kernel of interpolation
counts. It finds hundredths of a pixel where the shift is below a pixel or two. Pictures of two different views have a
low correlation, whatever their shift; two moments of one view differ in a few places only, so the largest difference of
brightness over small blocks counts as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.float32]

BLOCK_PX = 8
_SMOOTHING_PX = 1.0
_STEPS = 2
_MIN_GRADIENT_ENERGY = 1e-3
"""Mean squared gradient (levels per pixel) below which a picture has nothing that a shift would move."""


@dataclass(frozen=True)
class Registration:
    """How a picture compares with the expected one.

    `shift` is in pixels, 0 where the picture has no texture; `correlation` is between -1 and 1, and 1 for two even
    pictures; `block_difference` is the largest difference of the means of blocks of 8 x 8 px, in grey levels.
    """

    shift: float
    correlation: float
    block_difference: float


def register(picture: Grey, expected: Grey) -> Registration:
    """Compare a picture (height, width) in grey levels with the expected one of the same shape."""
    if picture.shape != expected.shape:
        raise ValueError(f"pictures of {picture.shape} and {expected.shape} cannot be compared")
    smooth, target = _smooth(picture), _smooth(expected)
    return Registration(_shift(smooth, target), _correlation(smooth, target), block_difference(picture, expected))


def block_difference(picture: Grey, expected: Grey) -> float:
    """Return the largest difference of the means of blocks of 8 x 8 px, in grey levels."""
    rows, columns = (max(1, side // BLOCK_PX) for side in picture.shape)
    means = cv2.resize(picture - expected, (columns, rows), interpolation=cv2.INTER_AREA)
    return float(np.abs(means).max())


def _smooth(picture: Grey) -> Grey:
    return np.asarray(cv2.GaussianBlur(picture.astype(np.float32), (0, 0), _SMOOTHING_PX), np.float32)


def _shift(picture: Grey, target: Grey) -> float:
    """Return the length of the shift in pixels that takes the target onto the picture."""
    total: NDArray[np.float64] = np.zeros(2)
    for _ in range(_STEPS):
        rows, columns = picture.shape
        move = np.array([[1.0, 0.0, -total[0]], [0.0, 1.0, -total[1]]])
        moved = cv2.warpAffine(target, move, (columns, rows), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP)
        total = total + _step(picture, np.asarray(moved, np.float32))
    return float(np.hypot(*total))


def _step(picture: Grey, moved: Grey) -> NDArray[np.float64]:
    """Return the shift (2,) x y that explains the difference best; borders do not count."""
    inner = (slice(BLOCK_PX, -BLOCK_PX), slice(BLOCK_PX, -BLOCK_PX))
    along_y, along_x = (np.gradient(moved, axis=axis)[inner].ravel() for axis in (0, 1))
    if float((along_x**2 + along_y**2).mean()) < _MIN_GRADIENT_ENERGY:
        return np.zeros(2)
    columns = np.stack([-along_x, -along_y, moved[inner].ravel(), np.ones(along_x.size, np.float32)], axis=1)
    normal = columns.T.astype(np.float64) @ columns
    solution = np.linalg.lstsq(normal, columns.T.astype(np.float64) @ (picture - moved)[inner].ravel(), rcond=None)[0]
    return np.asarray(solution[:2])


def _correlation(picture: Grey, target: Grey) -> float:
    first, second = picture - picture.mean(), target - target.mean()
    energy = float(np.sqrt((first**2).sum() * (second**2).sum()))
    if energy < _MIN_GRADIENT_ENERGY * picture.size:
        return 1.0
    return float((first * second).sum() / energy)
