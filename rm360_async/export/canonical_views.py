"""The canonical pictures of a unit: which of its views are made, and each with its alpha."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rm360_async.dataset import PublishedPerformance
from rm360_async.domain.errors import BadRequest
from rm360_async.export.canonical import DEFAULT_RADIUS, DEFAULT_SIZE, CanonicalCamera, canonical_cameras
from rm360_async.export.canonical_picture import CanonicalRemap, composite, make_remap
from rm360_async.export.format import NotExportable, Unit, holes_note, shortened
from rm360_async.export.options import FULL_SIZE, ExportOptions

Image = NDArray[np.uint8]
BACKGROUND_LEVELS = {"white": 255, "black": 0}
PNG_COMPRESSION = 1
"""Level 1 is three times as quick as OpenCV's default, for a twentieth more bytes."""


@dataclass(frozen=True, eq=False)
class CanonicalView:
    """One canonical picture: `picture` (size, size, 3) RGB; `alpha` (size, size) is None if everything is opaque."""

    camera: str
    frame: int
    picture: Image
    alpha: Image | None

    def over(self, level: int) -> Image:
        """Return the picture (size, size, 3) RGB over an even background of 0 to 255."""
        return self.picture if self.alpha is None else composite(self.picture, self.alpha, level)


@dataclass(frozen=True)
class ViewPlan:
    """Which views (camera, frame) are made, by camera; whether with their masks; and what was left out, in words."""

    views: tuple[tuple[str, int], ...]
    masked: bool
    notes: tuple[str, ...]


def plan_views(unit: Unit) -> ViewPlan:
    """Return which views of a unit are made: those with a picture, and, if there are any masks, with a mask.

    A program that trains on some pictures with a background and on others without would learn both. Raises
    NotExportable if none is left.
    """
    views = sorted(unit.views)
    masked = [view for view in views if unit.performance.has_mask(*view)]
    unmasked = sorted(set(views) - set(masked))
    notes = holes_note(unit)
    if masked and unmasked:
        names = tuple(f"cam_{camera}:{frame}" for camera, frame in unmasked)
        notes.append(f"{len(names)} pictures without a mask were left out, since others have one: {shortened(names)}")
    chosen = masked or views
    if not chosen:
        raise NotExportable("none of the selected cameras has a picture of the selected frames")
    return ViewPlan(tuple(chosen), bool(masked), tuple(notes))


def relative_area(options: ExportOptions) -> float:
    """Return how many times as large as at the default size a picture is."""
    return (options.size / DEFAULT_SIZE) ** 2 if isinstance(options.size, int) else 1.0


def seconds_per_view(options: ExportOptions) -> float:
    """Return the time that one canonical picture takes, measured: its source is decoded, whatever its own size."""
    return 0.05 + 0.04 * relative_area(options)


def cameras_of(performance: PublishedPerformance, options: ExportOptions) -> dict[str, CanonicalCamera]:
    """Return the canonical cameras of a performance by id; a choice of cameras changes none of them.

    Raises NotExportable if the calibration or the options do not allow them.
    """
    if options.size == FULL_SIZE:
        raise NotExportable("--size full is for films; canonical pictures are square: give a number of pixels")
    size = DEFAULT_SIZE if options.size is None else int(options.size)
    try:
        return canonical_cameras(performance.calibrated_cameras, size, options.radius or DEFAULT_RADIUS)
    except BadRequest as error:
        raise NotExportable(str(error)) from error


def render_views(
    performance: PublishedPerformance, cameras: dict[str, CanonicalCamera], plan: ViewPlan
) -> Iterator[CanonicalView]:
    """Yield the views of a plan; only the remap of one camera is in memory at a time."""
    for camera, group in groupby(plan.views, key=itemgetter(0)):
        remap = make_remap(performance.cameras[camera], cameras[camera])
        for _, frame in group:
            yield _render(performance, remap, camera, frame, plan.masked)


def write_views(
    performance: PublishedPerformance,
    cameras: dict[str, CanonicalCamera],
    plan: ViewPlan,
    write: Callable[[CanonicalView], None],
    threads: int,
) -> None:
    """Write every view of a plan by `write`; some threads have a camera each."""

    def write_camera(group: tuple[tuple[str, int], ...]) -> None:
        for view in render_views(performance, cameras, replace(plan, views=group)):
            write(view)

    groups = [tuple(group) for _, group in groupby(plan.views, key=itemgetter(0))]
    with ThreadPoolExecutor(threads, thread_name_prefix="canonical") as pool:
        for _ in pool.map(write_camera, groups):
            pass


def _render(
    performance: PublishedPerformance, remap: CanonicalRemap, camera: str, frame: int, masked: bool
) -> CanonicalView:
    picture = remap.warp_picture(performance.image(camera, frame, reduce=remap.reduce))
    if masked:
        return CanonicalView(camera, frame, picture, remap.warp_mask(performance.mask(camera, frame)))
    return CanonicalView(camera, frame, picture, None if remap.valid.all() else remap.alpha)


def write_png(path: Path, view: CanonicalView, background: str) -> None:
    """Write a view as PNG: RGBA for background `none` unless all is opaque, RGB over `white` or `black`.

    Colours that no one can see are 0, which makes the file half as large. Raises OSError.
    """
    if background in BACKGROUND_LEVELS:
        pixels = view.over(BACKGROUND_LEVELS[background])[..., ::-1]
    elif view.alpha is None:
        pixels = view.picture[..., ::-1]
    else:
        seen = np.where(view.alpha[..., None] > 0, view.picture[..., ::-1], 0)
        pixels = np.concatenate([seen, view.alpha[..., None]], axis=2)
    write_encoded(path, pixels, [cv2.IMWRITE_PNG_COMPRESSION, PNG_COMPRESSION])


def write_encoded(path: Path, pixels: NDArray[np.uint8], options: list[int]) -> None:
    """Write pixels (height, width[, 3 or 4]) BGR(A) in the format that the path's suffix says; raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, np.ascontiguousarray(pixels), options)[1].tobytes())
