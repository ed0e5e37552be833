"""The result of one check of a calibration, and the cameras that are checked."""

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
MAX_IDS_SHOWN = 6


@dataclass(frozen=True)
class Check:
    """The result of one check: `number` against `limit`, both in `unit`, and a sentence for a person."""

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
class CalibratedCameras:
    """The readable cameras of a calibration: ids, K (N, 3, 3) px, D (N x (5,)), RT as stored (N, 4, 4), and placement.

    `size` is (height, width) of the images in pixels, None if it is unknown.
    """

    ids: tuple[str, ...]
    K: Array
    D: tuple[Array, ...]
    RT: Array
    placement: Placement
    size: tuple[int, int] | None

    def ids_where(self, mask: NDArray[np.bool_]) -> list[str]:
        """Return the ids at which the mask (N,) is true."""
        return [camera for camera, is_chosen in zip(self.ids, mask.tolist(), strict=True) if is_chosen]


def grade(number: float, warn: float, fail: float) -> CheckState:
    """Return OK up to `warn`, WARN up to `fail`, else FAIL; NaN fails."""
    if number <= warn:
        return CheckState.OK
    return CheckState.WARN if number <= fail else CheckState.FAIL


def cameras_text(cameras: Iterable[str]) -> str:
    """Return `camera 25`, `cameras 25 and 26`, or the number of cameras and the first few ids."""
    ids = list(cameras)
    if len(ids) == 1:
        return f"camera {ids[0]}"
    if len(ids) > MAX_IDS_SHOWN:
        return f"{len(ids)} cameras ({' '.join(ids[:MAX_IDS_SHOWN])} ...)"
    return f"cameras {', '.join(ids[:-1])} and {ids[-1]}" if ids else "no camera"
