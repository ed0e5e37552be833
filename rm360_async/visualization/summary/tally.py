"""Rows of a manifest added up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

from rm360_async.visualization.report.run_data import PerformanceEntry, PerformanceState


@dataclass(frozen=True)
class Tally:
    """Performances that belong together: how they stand, and what the published ones hold.

    `cameras` and `frames` are (least, median, most) over the published ones, zeros where there is none.
    """

    performances: int
    squares: dict[PerformanceState, int]
    cameras: tuple[int, float, int]
    frames: tuple[int, float, int]
    bytes: int

    def as_json(self) -> dict[str, Any]:
        """Return the numbers as JSON values."""
        least_median_most = {"cameras": self.cameras, "frames": self.frames}
        return {
            "performances": self.performances,
            "states": {square.value: self.squares[square] for square in PerformanceState},
            **{
                key: dict(zip(("least", "median", "most"), each, strict=True))
                for key, each in least_median_most.items()
            },
            "bytes": self.bytes,
        }


def tally(rows: Iterable[PerformanceEntry]) -> Tally:
    """Return the sum of some rows."""
    rows = list(rows)
    squares = Counter(row.square for row in rows)
    published = [row for row in rows if row.status == "completed"]
    return Tally(
        len(rows),
        {square: squares[square] for square in PerformanceState},
        _spread([row.cameras for row in published]),
        _spread([row.frames for row in published]),
        sum(row.bytes for row in published),
    )


def _spread(values: list[int]) -> tuple[int, float, int]:
    return (min(values), median(values), max(values)) if values else (0, 0, 0)


def by_performance(rows: Iterable[PerformanceEntry]) -> dict[str, Tally]:
    """Return a sum for each performance in the field's order; the wigs of h1 share one."""
    ordered = sorted(rows, key=lambda row: row.place)
    return {column: tally(row for row in ordered if row.column == column) for column in _first(ordered)}


def _first(rows: list[PerformanceEntry]) -> dict[str, None]:
    return dict.fromkeys(row.column for row in rows)


def by_subject(rows: Iterable[PerformanceEntry]) -> dict[str, Tally]:
    """Return a sum for each subject."""
    groups: dict[str, list[PerformanceEntry]] = {}
    for row in rows:
        groups.setdefault(row.subject, []).append(row)
    return {subject: tally(groups[subject]) for subject in sorted(groups)}
