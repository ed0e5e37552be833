"""One check of a calibration: its name, state, number, limit and sentence; and the cameras that it looks at."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rm360_async.domain.cameras.calibration.conventions import Placement
from rm360_async.domain.cameras.rig import Array
from rm360_async.domain.check_status import CheckState

Matrices = Mapping[str, ArrayLike]
"""K (3, 3) px, D (5,), RT (4, 4) of one camera, by these names."""
_NAMED = 6


@dataclass(frozen=True)
class Check:
    """What one check found: `number` against `limit`, both in `unit`, and a sentence for a person."""

    name: str
    state: CheckState
    sentence: str
    number: float | None = None
    limit: float | None = None
    unit: str = ""

    def as_json(self) -> dict[str, object]:
        """Return the check as JSON values; numbers with four decimals at most, null for what is infinite."""
        number, limit = (
            None if value is None or not math.isfinite(value) else round(value, 4)
            for value in (self.number, self.limit)
        )
        return {
            "name": self.name,
            "state": self.state.value,
            "number": number,
            "limit": limit,
            "unit": self.unit,
            "sentence": self.sentence,
        }


@dataclass(frozen=True)
class Cameras:
    """The readable cameras of a calibration: ids, K (N, 3, 3), D, RT as stored (N, 4, 4), and where they stand.

    `size` is height and width of the images in pixels, None when it is not known.
    """

    ids: tuple[str, ...]
    K: Array
    D: tuple[Array, ...]
    RT: Array
    placement: Placement
    size: tuple[int, int] | None

    def where(self, chosen: NDArray[np.bool_]) -> list[str]:
        """Return the ids at which the mask (N,) is true."""
        return [camera for camera, is_chosen in zip(self.ids, chosen.tolist(), strict=True) if is_chosen]


def graded(number: float, warn: float, fail: float) -> CheckState:
    """Return ok up to `warn`, warn up to `fail`, else fail; what is no number fails."""
    if number <= warn:
        return CheckState.OK
    return CheckState.WARN if number <= fail else CheckState.FAIL


def named(cameras: Iterable[str]) -> str:
    """Return `camera 25`, `cameras 25 and 26`, or the first few of many."""
    ids = list(cameras)
    if len(ids) == 1:
        return f"camera {ids[0]}"
    if len(ids) > _NAMED:
        return f"{len(ids)} cameras ({' '.join(ids[:_NAMED])} ...)"
    return f"cameras {', '.join(ids[:-1])} and {ids[-1]}" if ids else "no camera"
