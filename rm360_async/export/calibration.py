"""Whether a published calibration can be exported: with a wrong one, every round trip would agree."""

from __future__ import annotations

from functools import lru_cache

from rm360_async.dataset import DamagedData, PublishedPerformance
from rm360_async.domain.cameras.calibration.check import Check
from rm360_async.domain.cameras.calibration.checks import check_calibration

_CONVENTION = "convention"


def require_convention(performance: PublishedPerformance) -> None:
    """Raise DamagedData if RT fits another convention than camera-to-world, OpenCV axes, metres better."""
    for check in _failures(performance):
        if check.name == _CONVENTION:
            hint = f"`rm360 cameras analyze {performance.folder}` shows all checks"
            raise DamagedData(f"its calibration cannot be trusted: {check.sentence}; {hint}")


def calibration_notes(performance: PublishedPerformance) -> list[str]:
    """Return a sentence for each other check of the calibration that fails."""
    return [f"the calibration fails a check, {check.name}: {check.sentence}" for check in _failures(performance)]


@lru_cache(maxsize=1)  # one performance has many moments
def _failures(performance: PublishedPerformance) -> tuple[Check, ...]:
    size = performance.picture_size
    return check_calibration(performance.calibration, None if size is None else size[::-1]).failures
