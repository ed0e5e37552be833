"""Choose N cameras that cover the rig best.

Theory of operation: "the worst angle is at most w and the largest azimuth gap at most g" is a set cover.
Its demands are the 60 rig positions (met by a kept camera within w degrees) and, for each camera of the
pool, the arc of g degrees that follows it (met by a kept camera in the arc: where every arc is met no gap is
wider, and the other way round). A local search that gives one camera up and takes another, with demands
that grow heavier while they stay unmet, finds such sets in a few hundred steps; each one found lowers w, and
once w stays, g. `g` starts at the smallest gap that N cameras can have, plus `GAP_SLACK`: without that bound the
best worst angle may leave one side empty. Weights are whole numbers and the random numbers are seeded, so
the same question has the same answer everywhere.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rm360_async.domain.cameras.coverage import azimuths, largest_gap, separation
from rm360_async.domain.cameras.rig import Array

CameraIndices = NDArray[np.intp]

GAP_SLACK = 3.0
"""Degrees by which the largest azimuth gap may exceed the smallest possible one to better the worst angle."""

PATIENCE = 500
"""Steps without a better set after which the search ends."""

_TINY = 1e-6


def best_cover(pool: CameraIndices, fixed: CameraIndices, count: int) -> CameraIndices:
    """Return `count` cameras of the pool (indices into the rig), the fixed ones among them, chosen by coverage."""
    local = _LocalSearch(pool, fixed, count)
    gap_limit = smallest_gap(np.sort(azimuths()[pool]), azimuths()[fixed], count) + GAP_SLACK
    local.descend(lambda kept: (_worst(kept) - _TINY, gap_limit), (180.0, gap_limit))
    worst = _worst(local.best)

    def narrower(kept: CameraIndices) -> tuple[float, float]:
        return worst + _TINY, largest_gap(azimuths()[kept]) - _TINY

    local.descend(narrower, narrower(local.best))
    return local.best


def _worst(kept: CameraIndices) -> float:
    """Return the largest angle from a rig position to its nearest kept camera, in degrees."""
    return float(separation()[kept].min(axis=0).max())


class _LocalSearch:
    """A weighted set-cover search; `best` is the last set (indices into the rig) that met all its demands."""

    def __init__(self, pool: CameraIndices, fixed: CameraIndices, count: int) -> None:
        self.pool = pool
        self.count = count
        self.pinned = len(fixed)
        self.kept = [int(np.flatnonzero(pool == camera)[0]) for camera in fixed]
        self.moved = np.full(len(pool), -9)
        self.random = np.random.default_rng(360)
        ahead = (azimuths()[pool][:, None] - azimuths()[pool][None]) % 360.0
        self.ahead = np.where(ahead == 0, 360.0, ahead)
        self.steps = 0
        self.found: list[int] = []
        self.demand((180.0, 360.0))
        while len(self.kept) < count:
            self._take(np.ones(len(pool), bool))

    @property
    def best(self) -> CameraIndices:
        """Return the best set so far; before the first find, the set that the search started from."""
        return np.array(self.pool[self.found or self.kept])

    def demand(self, limits: tuple[float, float]) -> None:
        """Set what must be met: the worst angle and the largest gap, in degrees."""
        worst, gap = limits
        meets = np.hstack([separation()[self.pool] <= worst, self.ahead <= gap + 1e-9])
        self.meets = meets.astype(np.float64)
        self.weights = np.ones(meets.shape[1])

    def descend(self, tighter: Callable[[CameraIndices], tuple[float, float]], limits: tuple[float, float]) -> None:
        """Search from `limits`; demand `tighter(set)` after each find, until PATIENCE steps bring none."""
        self.kept = list(self.found or self.kept)
        self.demand(limits)
        last = self.steps
        while self.steps - last < PATIENCE:
            unmet = self._unmet()
            if unmet.any():
                self._swap(unmet)
            else:
                self.found, last = list(self.kept), self.steps
                self.demand(tighter(self.best))

    def _unmet(self) -> NDArray[np.bool_]:
        return np.asarray(self.meets[self.kept].sum(axis=0) == 0)

    def _swap(self, unmet: NDArray[np.bool_]) -> None:
        """Give up the camera that is missed least and take one that meets a demand that nobody meets."""
        self.steps += 1
        self.weights[unmet] += 1
        if self.pinned == self.count:
            return
        once = self.meets[self.kept].sum(axis=0) == 1
        free = self.kept[self.pinned :]
        loss = self.meets[free] @ (self.weights * once) + 1e9 * (self.moved[free] >= self.steps - 2)
        given_up = self.kept.pop(self.pinned + int(loss.argmin()))
        open_demand = self.random.choice(np.flatnonzero(self._unmet()))
        candidates = self.meets[:, open_demand] > 0
        candidates[given_up] = False
        self.moved[given_up] = self.steps
        self._take(candidates if candidates.any() else np.arange(len(self.pool)) == given_up)

    def _take(self, candidates: NDArray[np.bool_]) -> None:
        """Take the candidate that meets the most weight that is not met."""
        gain = np.where(candidates, self.meets @ (self.weights * self._unmet()), -1.0)
        gain[self.kept] = -2.0
        self.kept.append(int(gain.argmax()))
        self.moved[self.kept[-1]] = self.steps


def smallest_gap(ordered: Array, starts: Array, count: int) -> float:
    """Return the smallest largest gap that `count` of the sorted azimuths can leave, exactly, in degrees.

    For a limit, jumping from a camera to the farthest one within the limit closes the circle in the fewest
    steps; the limits that pairs of cameras give are searched by halving. `starts` are azimuths that must be
    among the kept ones (none: any).
    """
    firsts = starts if starts.size else ordered
    limits = np.unique(np.append((ordered[None] - ordered[:, None]) % 360.0, 360.0))
    low, high = 0, len(limits) - 1
    while low < high:
        middle = (low + high) // 2
        if any(_closes(ordered, first, float(limits[middle]), count) for first in firsts):
            high = middle
        else:
            low = middle + 1
    return float(limits[low])


def _closes(ordered: Array, first: float, limit: float, count: int) -> bool:
    """Tell whether `count` cameras from `first` on get round the circle with no gap above the limit."""
    ahead = np.append(np.sort((ordered - first) % 360.0), 360.0)
    place = 0.0
    for _ in range(count):
        place = float(ahead[ahead <= place + limit + 1e-9].max())
        if place >= 360.0:
            return True
    return False
