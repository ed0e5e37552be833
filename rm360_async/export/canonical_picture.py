"""Pictures and masks of canonical cameras, sampled from the stored ones through the lens.

Theory of operation: the map from canonical to stored pixels is evaluated on a grid `over` times as fine as the output;
the source is sampled there linearly, and `over` x `over` samples are averaged exactly, so no source pixel is passed
over and nothing shifts. Most of the reduction is left to the JPEG decoder, which makes a half or a quarter for a third
or a fifth of the time; K of such a picture is ((K + 0.5) / n - 0.5), as every pixel of it covers n x n whole pixels.

What a canonical picture cannot know is transparent: pixels outside the stored picture, and those beyond the radius at
which the lens distortion folds back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from rm360_async.domain.cameras.calibration.lens import distortion_coefficients, fold_radius
from rm360_async.domain.cameras.rig import scale_intrinsics
from rm360_async.export.canonical import CalibratedCamera, CanonicalCamera, choose_reduction, oversampling

Image = NDArray[np.uint8]


class SourceCamera(CalibratedCamera, Protocol):
    """A calibrated camera whose stored pictures are `width` x `height` pixels."""

    @property
    def width(self) -> int: ...  # noqa: D102
    @property
    def height(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class CanonicalRemap:
    """How the pictures of one camera become canonical ones; made once for a camera, used for all its frames.

    `reduce` is what the decoder divides the picture by, `over` the samples a side for each canonical pixel. `picture`
    and `mask` are maps (rows, columns, 2) from samples to pixels of the reduced picture and of the mask at full size;
    `valid` (size, size) is False where the stored picture does not have what the canonical camera sees.
    """

    size: int
    reduce: int
    over: int
    picture: NDArray[np.float32]
    mask: NDArray[np.float32]
    valid: NDArray[np.bool_]

    def warp_picture(self, reduced: Image) -> Image:
        """Return the canonical picture (size, size, 3) of a stored one that was decoded with `reduce`."""
        return self._sample(reduced, self.picture, cv2.BORDER_REPLICATE)

    def warp_mask(self, mask: Image) -> Image:
        """Return the share of each canonical pixel (size, size), 0 to 255, that a mask of the full size covers."""
        return np.where(self.valid, self._sample(mask, self.mask, cv2.BORDER_CONSTANT), 0).astype(np.uint8)

    @property
    def alpha(self) -> Image:
        """Return 255 where the stored picture has what the canonical camera sees, else 0 (size, size)."""
        return np.where(self.valid, 255, 0).astype(np.uint8)

    def _sample(self, source: Image, where: NDArray[np.float32], border: int) -> Image:
        samples = cv2.remap(source, where, None, cv2.INTER_LINEAR, borderMode=border)  # type: ignore[call-overload]
        if self.over == 1:
            return np.asarray(samples, np.uint8)
        return np.asarray(cv2.resize(samples, (self.size, self.size), interpolation=cv2.INTER_AREA), np.uint8)


def make_remap(source: SourceCamera, canonical: CanonicalCamera) -> CanonicalRemap:
    """Return the remap from a camera's stored pictures to its canonical ones."""
    focal = float(np.sqrt(source.K[0, 0] * source.K[1, 1]))
    reduce = choose_reduction(focal, canonical.focal)
    over = oversampling(focal / reduce, canonical.focal)
    full = sampling_map(source, canonical, over)
    reduced = (full + np.float32(0.5)) / np.float32(reduce) - np.float32(0.5)
    return CanonicalRemap(canonical.size, reduce, over, reduced, full, valid_pixels(source, canonical))


def sampling_map(source: SourceCamera, canonical: CanonicalCamera, over: int) -> NDArray[np.float32]:
    """Return the pixels (n, n, 2) x y of the stored picture that canonical samples see, n = over * size."""
    turn = canonical.RT[:3, :3].T @ source.RT[:3, :3]
    samples = (over * canonical.size, over * canonical.size)
    maps = cv2.initUndistortRectifyMap(
        np.asarray(source.K, np.float64),
        distortion_coefficients(source.D),
        turn,
        scale_intrinsics(canonical.K, over),
        samples,
        cv2.CV_32FC2,
    )
    return np.asarray(maps[0], np.float32)


def valid_pixels(source: SourceCamera, canonical: CanonicalCamera) -> NDArray[np.bool_]:
    """Return which canonical pixels (size, size) lie inside the stored picture and where its lens does not fold."""
    where = sampling_map(source, canonical, 1)
    x, y = where[..., 0], where[..., 1]
    inside = (x >= -0.5) & (x <= source.width - 0.5) & (y >= -0.5) & (y <= source.height - 0.5)
    rays = canonical_rays(canonical) @ (canonical.RT[:3, :3].T @ source.RT[:3, :3]).astype(np.float32)
    inside &= rays[..., 2] > 0
    fold = fold_radius(source.D)
    if np.isfinite(fold):
        inside &= (rays[..., 0] ** 2 + rays[..., 1] ** 2) < (fold * rays[..., 2]) ** 2
    return np.asarray(inside)


def canonical_rays(canonical: CanonicalCamera) -> NDArray[np.float32]:
    """Return the direction (size, size, 3) in camera axes that each pixel sees, with z = 1."""
    along = (np.arange(canonical.size, dtype=np.float32) - (canonical.size - 1) / 2) / np.float32(canonical.focal)
    x, y = np.meshgrid(along, along)
    return np.stack([x, y, np.ones_like(x)], axis=-1)


def composite(picture: Image, alpha: Image, background: int) -> Image:
    """Return the picture (..., 3) over an even grey of 0 to 255 by its alpha (...)."""
    weight = alpha[..., None].astype(np.uint16)
    blended = (picture * weight + background * (255 - weight) + 127) // 255
    return blended.astype(np.uint8)
