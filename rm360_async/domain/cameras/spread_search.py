"""Choose N cameras that are spread over all heights and directions.

Theory of operation: the cost of a set is the mean square of the angles from the 60 rig positions to their nearest
chosen camera; squares, so that no position is left far away. Every height (upper, eye level, lower) must have a share
of the set: a set on one ring has a small worst angle too, but shows no chin and no crown. From a greedy start, and
from seeded random ones, the best exchange of one camera is made until none improves; the best result is taken. So the
same question has the same answer everywhere.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rm360_async.domain.cameras.cover_search import CameraIndices
from rm360_async.domain.cameras.coverage import separation
from rm360_async.domain.cameras.rig import Array, rig

HEIGHTS = {"upper": 0, "middle": 1, "eye-inner": 1, "lower": 2}
"""The height of each tier of the rig."""
SHARE = 4
"""Each height has at least one camera of so many, as far as there are any."""
_RANDOM_STARTS = 12
_DEFICIT_COST = 1e6
_EPSILON = 1e-9


def best_spread(pool: CameraIndices, fixed: CameraIndices, count: int) -> CameraIndices:
    """Return `count` cameras of the pool, the fixed ones among them, spread over heights and directions."""
    costs = _Costs(pool, count)
    random = np.random.default_rng(360)
    free = np.setdiff1d(pool, fixed)
    results = []
    for start in range(1 + _RANDOM_STARTS):
        size = 0 if start == 0 else count - len(fixed)
        chosen = np.append(fixed, random.permutation(free)[:size])
        while len(chosen) < count:
            candidates = np.setdiff1d(free, chosen)
            chosen = np.append(chosen, candidates[costs.with_each(chosen, candidates).argmin()])
        results.append(_exchange(chosen, free, len(fixed), costs))
    return min(results, key=costs.of)


def _exchange(chosen: CameraIndices, free: CameraIndices, fixed_count: int, costs: _Costs) -> CameraIndices:
    """Return the set after the best exchange of one camera was made again and again until none improves it."""
    chosen, lowest = chosen.copy(), costs.of(chosen)
    while len(chosen) > fixed_count and len(candidates := np.setdiff1d(free, chosen)):
        positions = range(fixed_count, len(chosen))
        table = np.stack([costs.with_each(np.delete(chosen, position), candidates) for position in positions])
        best = int(table.argmin())
        if table.flat[best] >= lowest - _EPSILON:
            break
        lowest = float(table.flat[best])
        chosen[fixed_count + best // len(candidates)] = candidates[best % len(candidates)]
    return chosen


class _Costs:
    """The cost of sets of cameras: mean square angle, and a high price for each camera that a height lacks."""

    def __init__(self, pool: CameraIndices, count: int) -> None:
        heights = np.array([HEIGHTS[camera.tier] for camera in rig().values()])
        self._at_height: NDArray[np.int_] = np.eye(3, dtype=int)[heights]
        self._quotas = np.minimum(count // SHARE, self._at_height[pool].sum(axis=0))

    def of(self, chosen: CameraIndices) -> float:
        """Return the cost of a set."""
        return float(self.with_each(chosen[:-1], chosen[-1:])[0])

    def with_each(self, chosen: CameraIndices, candidates: CameraIndices) -> Array:
        """Return the costs (N,) of a set with each of N candidates."""
        nearest = separation()[chosen].min(axis=0, initial=180.0)
        angles = np.minimum(nearest, separation()[candidates])
        missing = self._quotas - self._at_height[chosen].sum(axis=0) - self._at_height[candidates]
        return np.asarray((angles**2).mean(axis=1) + _DEFICIT_COST * np.maximum(missing, 0).sum(axis=1))
