"""Checks of canonical exports: that each picture is what its camera, as written, sees of the source.

Theory of operation: the way back is another than the way there. The camera is the one that the reader's own formulas
give from the written files. Each pixel of a coarse grid over the written picture becomes a ray of that camera, a point
on it in the world, and, through the stored lens, a pixel of the stored picture, which is decoded at another size than
for the export. What is seen there must be what was written: in place (least-squares registration), in kind (the
correlation is low between two cameras) and in time (blocks of pixels differ between two moments). All views are
compared on the coarse grid, a few at full resolution, where half a pixel of the source counts.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from itertools import groupby
from operator import itemgetter

import numpy as np

from rm360_async.dataset import PublishedPerformance
from rm360_async.export.format import CheckFailed
from rm360_async.export.registration import Grey, register
from rm360_async.export.written_view import (
    Grid,
    Grids,
    WrittenView,
    averaged,
    expected_alpha,
    expected_grey,
    make_grid,
    written_grey,
)

COARSE_PX = 128
"""Pictures are compared at this size or up to twice it."""
FINE_VIEWS = 4
"""Views that are compared at full resolution, spread over the unit."""
FINE_SHIFT_LIMITS_PX, COARSE_SHIFT_LIMIT_PX = (0.05, 0.4), 0.06
"""In pixels of the compared pictures; the fine one grows from the first to the second as a picture is enlarged."""
MAX_SHIFT_SOURCE_PX = 0.15
"""Of the stored picture, between these limits: half a pixel of it is 0.13 px of 512."""
MIN_CORRELATION = 0.97
MAX_BLOCK_DIFFERENCE = 16.0
"""Grey levels."""
MAX_MASK_DIFFERENCE = 8.0
"""Grey levels of 255, on average over the picture."""
MOMENT_SLACK, MOMENT_SLACK_SQUARED_LEVELS = 1.1, 0.1
"""How much farther a picture may be from its own moment than from a neighbouring one, where these hardly differ."""


@dataclass(frozen=True)
class Comparison:
    """How a view compares: the shift in pixels of the written picture, and the rest as in `Registration`."""

    shift: float
    correlation: float
    block_difference: float


def check_views(
    performance: PublishedPerformance,
    views: Sequence[tuple[str, int]],
    read: Callable[[str, int], WrittenView],
    masked: bool,
    threads: int,
) -> Mapping[str, float | int | str]:
    """Compare views (camera, frame), sorted, with their source, each camera in a thread; return the worst figures.

    `read` returns a view as it was written; `masked` says whether the masks of the source were applied. Raises
    CheckFailed with the first view that is not what its camera sees.
    """
    every = max(1, len(views) // FINE_VIEWS)
    fine = frozenset(views[::every])

    def check_camera(group: Sequence[tuple[str, int]]) -> _Worst:
        return _check_camera(performance, (read(*view) for view in group), fine, masked)

    groups = [tuple(group) for _, group in groupby(views, key=itemgetter(0))]
    with ThreadPoolExecutor(threads, thread_name_prefix="check") as pool:
        worst = reduce(_Worst.joined, pool.map(check_camera, groups))
    return {
        "views_compared": len(views),
        "largest_shift_px": round(worst.fine_shift, 4),
        "largest_shift_coarse_px": round(worst.shift, 3),
        "lowest_correlation": round(worst.correlation, 4),
        "largest_block_difference": round(worst.block_difference, 2),
    }


@dataclass(frozen=True)
class _Worst:
    """The worst figures of some views; `fine_shift` of those compared at full resolution."""

    shift: float = 0.0
    correlation: float = 1.0
    block_difference: float = 0.0
    fine_shift: float = 0.0

    def joined(self, other: _Worst) -> _Worst:
        return _Worst(
            max(self.shift, other.shift),
            min(self.correlation, other.correlation),
            max(self.block_difference, other.block_difference),
            max(self.fine_shift, other.fine_shift),
        )


def _check_camera(
    performance: PublishedPerformance, views: Iterable[WrittenView], fine: Container[tuple[str, int]], masked: bool
) -> _Worst:
    """Compare the views of one camera, those of `fine` at full resolution as well."""
    worst = _Worst()
    before: _Compared | None = None
    grids: Grids = {}
    for view in views:
        compared = _compare(performance, view, coarse_step(view.picture.shape[1]), masked, grids)
        found = _require_same(compared)
        worst = worst.joined(_Worst(found.shift, found.correlation, found.block_difference))
        _require_moments(before, compared)
        before = compared
        if (view.camera, view.frame) in fine:
            shift = _require_same(_compare(performance, view, 1, masked, grids)).shift
            worst = worst.joined(_Worst(fine_shift=shift))
    return worst


def coarse_step(size: int) -> int:
    """Return by how much a picture is reduced for the comparison; it divides the size."""
    return max((step for step in (1, 2, 4, 8) if size % step == 0 and size // step >= COARSE_PX), default=1)


@dataclass(frozen=True, eq=False)
class _Compared:
    """A written view, the step it was reduced by, and in grey what was written and what is expected."""

    view: WrittenView
    step: int
    written: Grey
    expected: Grey
    mask_difference: float
    max_shift: float


def _compare(performance: PublishedPerformance, view: WrittenView, step: int, masked: bool, grids: Grids) -> _Compared:
    key = (view.camera, step, view.K.tobytes() + view.RT.tobytes())
    if key not in grids:
        grids[key] = make_grid(performance, view, step)
    grid = grids[key]
    difference = _mask_difference(performance, view, grid, step)
    expected = expected_grey(performance, view, grid, masked)
    return _Compared(view, step, written_grey(view, step), expected, difference, _max_shift(performance, view, step))


def _max_shift(performance: PublishedPerformance, view: WrittenView, step: int) -> float:
    """Return the largest shift that passes, in pixels of pictures reduced by a step."""
    enlargement = float(view.K[0, 0] / performance.cameras[view.camera].K[0, 0])
    fine = float(np.clip(MAX_SHIFT_SOURCE_PX * enlargement, *FINE_SHIFT_LIMITS_PX))
    return fine if step == 1 else max(COARSE_SHIFT_LIMIT_PX, fine / step)


def _mask_difference(performance: PublishedPerformance, view: WrittenView, grid: Grid, step: int) -> float:
    """Return the mean difference of a mask's file from what the camera sees of the source's mask, in grey levels."""
    if view.mask is None:
        return 0.0
    expected = averaged(expected_alpha(performance, view, grid, masked=True), grid.samples)
    return float(np.abs(averaged(view.mask, step) - expected).mean())


def _require_same(compared: _Compared) -> Comparison:
    """Return the figures of a view; raise CheckFailed if it is not what its camera sees."""
    found, step = register(compared.written, compared.expected), compared.step
    what = f"cam_{compared.view.camera}, frame {compared.view.frame}: the picture"
    if compared.mask_difference > MAX_MASK_DIFFERENCE:
        mask = f"cam_{compared.view.camera}, frame {compared.view.frame}: the mask"
        raise CheckFailed(
            f"{mask} is not that of the source ({compared.mask_difference:.0f} grey levels off on average)"
        )
    if found.correlation < MIN_CORRELATION:
        raise CheckFailed(f"{what} is not what this camera sees (correlation {found.correlation:.2f})")
    if found.shift > compared.max_shift:
        raise CheckFailed(f"{what} lies {found.shift * step:.2f} px from where this camera sees it")
    if found.block_difference > MAX_BLOCK_DIFFERENCE:
        levels = f"up to {found.block_difference:.0f} grey levels apart"
        raise CheckFailed(f"{what} shows something else than the source ({levels}), such as another moment")
    return Comparison(found.shift * step, found.correlation, found.block_difference)


def _require_moments(before: _Compared | None, compared: _Compared) -> None:
    """Raise CheckFailed if two views of one camera are more like each other's moment than like their own."""
    if before is None or before.written.shape != compared.written.shape:
        return
    for own, other in ((before, compared), (compared, before)):
        to_own, to_other = (float(((own.written - each.expected) ** 2).mean()) for each in (own, other))
        if to_own > MOMENT_SLACK * to_other + MOMENT_SLACK_SQUARED_LEVELS:
            raise CheckFailed(
                f"cam_{own.view.camera}: the picture of frame {own.view.frame} is more like the source's frame"
                f" {other.view.frame} than its own"
            )
