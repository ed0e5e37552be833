"""Choose N cameras that cover the rig best.

Theory of operation: "the worst angle is at most w and the largest azimuth gap at most g" is a set cover problem.
Its demands are the 60 rig positions (met by a chosen camera within w degrees) and, for each camera of the
pool, the arc of g degrees that follows it (met by a chosen camera in the arc: if every arc is met, no gap is
wider, and the other way round). A local search that drops one camera and takes another, with the weight of a
demand growing while it is unmet, finds such sets in a few hundred steps; each set found lowers w, and
once w stays, g. `g` starts at the smallest gap that N cameras can have, plus `GAP_SLACK_DEGREES`: without that bound
the best worst angle may leave one side empty. Weights are whole numbers and the random numbers are seeded, so
the same question has the same answer everywhere.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rm360_async.domain.cameras.coverage import azimuths, largest_gap, separation
from rm360_async.domain.cameras.rig import Array

CameraIndices = NDArray[np.intp]
"""Indices (N,) into the rig's cameras in the order of ids."""
SearchLimits = tuple[float, float]
"""The largest worst angle and the largest azimuth gap that are allowed, in degrees."""

GAP_SLACK_DEGREES = 3.0
"""How much wider than the smallest possible one the largest azimuth gap may be to improve the worst angle."""
PATIENCE = 500
"""Steps without a better set after which the search ends."""
TABU_STEPS = 2
"""A camera that was moved within so many steps is not dropped."""
_TABU_PENALTY = 1e9
_EPSILON = 1e-6
_ROUNDING = 1e-9


def best_cover(pool: CameraIndices, fixed: CameraIndices, count: int) -> CameraIndices:
    """Return `count` cameras of the pool, the fixed ones among them, chosen by coverage."""
    search = _LocalSearch(pool, fixed, count)
    gap_limit = smallest_gap(np.sort(azimuths()[pool]), azimuths()[fixed], count) + GAP_SLACK_DEGREES
    search.improve(lambda chosen: (_worst_angle(chosen) - _EPSILON, gap_limit), (180.0, gap_limit))
    worst = _worst_angle(search.best)

    def narrower_gap(chosen: CameraIndices) -> SearchLimits:
        return worst + _EPSILON, largest_gap(azimuths()[chosen]) - _EPSILON

    search.improve(narrower_gap, narrower_gap(search.best))
    return search.best


def _worst_angle(chosen: CameraIndices) -> float:
    """Return the largest angle from a rig position to its nearest chosen camera, in degrees."""
    return float(separation()[chosen].min(axis=0).max())


class _LocalSearch:
    """A weighted set-cover search; `best` is the last set that met all its demands.

    `_chosen` and `_best` are indices into the pool, the fixed cameras first.
    """

    def __init__(self, pool: CameraIndices, fixed: CameraIndices, count: int) -> None:
        self._pool = pool
        self._count = count
        self._fixed_count = len(fixed)
        self._chosen = [int(np.flatnonzero(pool == camera)[0]) for camera in fixed]
        self._best: list[int] = []
        self._last_moved = np.full(len(pool), -9)
        self._random = np.random.default_rng(360)
        ahead = (azimuths()[pool][:, None] - azimuths()[pool][None]) % 360.0
        self._ahead = np.where(ahead == 0, 360.0, ahead)
        self._steps = 0
        self._set_demands((180.0, 360.0))
        while len(self._chosen) < count:
            self._take(np.ones(len(pool), bool))

    @property
    def best(self) -> CameraIndices:
        """Return the best set so far; before the first one that met its demands, the set that the search began with."""
        return np.array(self._pool[self._best or self._chosen])

    def improve(self, tighten: Callable[[CameraIndices], SearchLimits], limits: SearchLimits) -> None:
        """Search from `limits`; set the limits `tighten(best)` after each success, until PATIENCE steps bring none."""
        self._chosen = list(self._best or self._chosen)
        self._set_demands(limits)
        last_success = self._steps
        while self._steps - last_success < PATIENCE:
            unmet = self._unmet()
            if unmet.any():
                self._swap(unmet)
            else:
                self._best, last_success = list(self._chosen), self._steps
                self._set_demands(tighten(self.best))

    def _set_demands(self, limits: SearchLimits) -> None:
        worst, gap = limits
        meets = np.hstack([separation()[self._pool] <= worst, self._ahead <= gap + _ROUNDING])
        self._meets = meets.astype(np.float64)
        self._weights = np.ones(meets.shape[1])

    def _unmet(self) -> NDArray[np.bool_]:
        return np.asarray(self._meets[self._chosen].sum(axis=0) == 0)

    def _swap(self, unmet: NDArray[np.bool_]) -> None:
        """Drop the camera whose loss weighs least and take one that meets a demand that no other camera meets."""
        self._steps += 1
        self._weights[unmet] += 1
        if self._fixed_count == self._count:
            return
        met_once = self._meets[self._chosen].sum(axis=0) == 1
        free = self._chosen[self._fixed_count :]
        is_tabu = self._last_moved[free] >= self._steps - TABU_STEPS
        loss = self._meets[free] @ (self._weights * met_once) + _TABU_PENALTY * is_tabu
        dropped = self._chosen.pop(self._fixed_count + int(loss.argmin()))
        demand = self._random.choice(np.flatnonzero(self._unmet()))
        candidates = self._meets[:, demand] > 0
        candidates[dropped] = False
        self._last_moved[dropped] = self._steps
        self._take(candidates if candidates.any() else np.arange(len(self._pool)) == dropped)

    def _take(self, candidates: NDArray[np.bool_]) -> None:
        """Take the candidate that meets the most weight of unmet demands."""
        gain = np.where(candidates, self._meets @ (self._weights * self._unmet()), -1.0)
        gain[self._chosen] = -2.0
        self._chosen.append(int(gain.argmax()))
        self._last_moved[self._chosen[-1]] = self._steps


def smallest_gap(ordered: Array, required: Array, count: int) -> float:
    """Return the smallest largest gap that `count` of the sorted azimuths can leave, exactly, in degrees.

    `required` are azimuths that must be among the chosen ones (empty: any). For a limit, jumping from a camera to the
    farthest one within the limit closes the circle in the fewest steps; the limits that pairs of cameras give are
    searched by bisection.
    """
    starts = required if required.size else ordered
    limits = np.unique(np.append((ordered[None] - ordered[:, None]) % 360.0, 360.0))
    low, high = 0, len(limits) - 1
    while low < high:
        middle = (low + high) // 2
        if any(_closes_circle(ordered, start, float(limits[middle]), count) for start in starts):
            high = middle
        else:
            low = middle + 1
    return float(limits[low])


def _closes_circle(ordered: Array, start: float, limit: float, count: int) -> bool:
    """Return True if `count` cameras from `start` on close the circle with no gap above the limit."""
    ahead = np.append(np.sort((ordered - start) % 360.0), 360.0)
    reached = 0.0
    for _ in range(count):
        reached = float(ahead[ahead <= reached + limit + _ROUNDING].max())
        if reached >= 360.0:
            return True
    return False
