"""What the camera of an export, as it was written, sees of the source; and what the export shows of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rm360_async.dataset import Camera, PublishedPerformance
from rm360_async.domain.cameras.rig import Array, scale_intrinsics
from rm360_async.export.canonical import REDUCTIONS, choose_reduction
from rm360_async.export.canonical_picture import composite
from rm360_async.export.format import CheckFailed
from rm360_async.export.registration import Grey

Image = NDArray[np.uint8]

NEUTRAL_LEVEL = 160
"""Background to compare on: neither skin nor hair."""
_GREY_WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True, eq=False)
class WrittenView:
    """A view as the reader of an export gets it.

    `K` (3, 3) has integer pixel centres, `RT` (4, 4) is camera-to-world with OpenCV axes, `picture` (height, width, 3)
    RGB, `alpha` (height, width) None if there is none. `background` is the level that the picture was laid over by its
    mask, None if it was not. `mask` (height, width) is that of a file of its own, None if there is none.
    """

    camera: str
    frame: int
    K: Array
    RT: Array
    picture: Image
    alpha: Image | None
    background: int | None = None
    mask: Image | None = None


@dataclass(frozen=True, eq=False)
class Grid:
    """Where samples (rows, columns, 2) of a written view lie in the full stored picture.

    `inside` (rows, columns) is whether the picture has them; `reduce` is the reduction to decode it with, `samples` are
    those a side of a compared pixel.
    """

    pixels: NDArray[np.float32]
    inside: NDArray[np.bool_]
    reduce: int
    samples: int


Grids = dict[tuple[str, int, bytes], Grid]
"""By camera, step, and the bytes of K and RT as written."""


def make_grid(performance: PublishedPerformance, view: WrittenView, step: int) -> Grid:
    """Project a grid of samples over the written view to the stored picture: one for a pixel, two a side if reduced."""
    camera = performance.cameras[view.camera]
    samples_per_pixel = 1 if step == 1 else 2 / step
    K = scale_intrinsics(view.K, samples_per_pixel)
    height, width = (round(side * samples_per_pixel) for side in view.picture.shape[:2])
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ np.linalg.inv(K).T
    pixels = camera.project(view.RT[:3, 3] + rays @ view.RT[:3, :3].T)
    inside = np.isfinite(pixels).all(axis=-1) & _within(camera, pixels) & _before_fold(camera, view, rays)
    reduce = choose_reduction(float(camera.K[0, 0]), float(view.K[0, 0]) / step)
    return Grid(np.nan_to_num(pixels, nan=-9.0).astype(np.float32), inside, reduce, 1 if step == 1 else 2)


def _within(camera: Camera, pixels: Array) -> NDArray[np.bool_]:
    x, y = pixels[..., 0], pixels[..., 1]
    with np.errstate(invalid="ignore"):
        return np.asarray((x >= -0.5) & (x <= camera.width - 0.5) & (y >= -0.5) & (y <= camera.height - 0.5))


def _before_fold(camera: Camera, view: WrittenView, rays: Array) -> NDArray[np.bool_]:
    in_source = rays @ view.RT[:3, :3].T @ camera.world_to_camera[:3, :3].T
    return np.asarray(np.hypot(in_source[..., 0], in_source[..., 1]) < camera.fold_radius * in_source[..., 2])


def expected_grey(performance: PublishedPerformance, view: WrittenView, grid: Grid, masked: bool) -> Grey:
    """Return what the written camera sees of the source, in grey, laid over the background of the comparison."""
    picture = _sampled(performance.image(view.camera, view.frame, reduce=grid.reduce), grid, grid.reduce)
    alpha = expected_alpha(performance, view, grid, masked)
    if not masked and view.alpha is None and view.background is None:
        return averaged(_to_grey(picture), grid.samples)
    level = NEUTRAL_LEVEL if view.background is None else view.background
    return averaged(_to_grey(composite(picture, alpha, level)), grid.samples)


def expected_alpha(performance: PublishedPerformance, view: WrittenView, grid: Grid, masked: bool) -> Image:
    """Return 255 for the samples that the source has, and, with masks, as much as its mask covers."""
    if not masked:
        return np.where(grid.inside, 255, 0).astype(np.uint8)
    mask, factor = _halved(performance.mask(view.camera, view.frame), grid.reduce)
    return np.where(grid.inside, _sampled(mask, grid, factor), 0).astype(np.uint8)


def averaged(picture: Image | Grey, factor: int) -> Grey:
    """Return the means of squares of `factor` px."""
    size = (picture.shape[1] // factor, picture.shape[0] // factor)
    return np.asarray(cv2.resize(picture.astype(np.float32), size, interpolation=cv2.INTER_AREA), np.float32)


def _halved(mask: Image, reduce: int) -> tuple[Image, int]:
    """Return a mask reduced by averaging as far as its size allows, up to `reduce`, and by how much."""
    height, width = mask.shape[:2]
    factor = next(n for n in REDUCTIONS if n <= reduce and width % n == 0 and height % n == 0)
    return np.asarray(cv2.resize(mask, (width // factor, height // factor), interpolation=cv2.INTER_AREA)), factor


def _sampled(picture: Image, grid: Grid, factor: int) -> Image:
    """Return the samples of the grid from a stored picture that was reduced by a factor."""
    where = (grid.pixels + np.float32(0.5)) / np.float32(factor) - np.float32(0.5)
    border = cv2.BORDER_REPLICATE
    return np.asarray(cv2.remap(picture, where, None, cv2.INTER_LINEAR, borderMode=border), np.uint8)  # type: ignore[call-overload]


def written_grey(view: WrittenView, step: int) -> Grey:
    """Return the written picture in grey, over the background of the comparison, reduced by a step."""
    picture = view.picture if view.alpha is None else composite(view.picture, view.alpha, NEUTRAL_LEVEL)
    return averaged(_to_grey(picture), step)


def read_picture(path: Path) -> tuple[Image, Image | None]:
    """Return RGB (height, width, 3) and alpha (height, width; None if it has none) of a picture; raise CheckFailed."""
    decoded = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None:
        raise CheckFailed(f"{path.name} cannot be decoded")
    pixels = np.asarray(decoded, np.uint8)
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], 3, axis=2), None
    return np.ascontiguousarray(pixels[..., 2::-1]), (pixels[..., 3] if pixels.shape[2] == 4 else None)


def _to_grey(picture: Image) -> Grey:
    return np.asarray(picture.astype(np.float32) @ _GREY_WEIGHTS, np.float32)
