"""Entries of a run or a manifest added up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

from rm360_async.domain.counts import StateCounts
from rm360_async.visualization.report.run_data import PerformanceEntry, PerformanceState, count_entries

Spread = tuple[int, float, int]
"""Least, median and most."""


@dataclass(frozen=True)
class Tally:
    """Performances that belong together: how many are in each state, and what the published ones hold.

    `cameras` and `frames` are over the published ones, zeros if there is none.
    """

    performances: int
    states: dict[PerformanceState, int]
    cameras: Spread
    frames: Spread
    bytes: int
    counts: StateCounts

    def as_json(self) -> dict[str, Any]:
        """Return the numbers as JSON values."""
        names = ("least", "median", "most")
        return {
            "performances": self.performances,
            "states": {state.value: self.states[state] for state in PerformanceState},
            "cameras": dict(zip(names, self.cameras, strict=True)),
            "frames": dict(zip(names, self.frames, strict=True)),
            "bytes": self.bytes,
        }


def tally(entries: Iterable[PerformanceEntry]) -> Tally:
    """Return the sum of some entries."""
    entries = list(entries)
    counts = Counter(entry.state for entry in entries)
    published = [entry for entry in entries if entry.is_published]
    return Tally(
        len(entries),
        {state: counts[state] for state in PerformanceState},
        _spread([entry.cameras for entry in published]),
        _spread([entry.frames for entry in published]),
        sum(entry.bytes for entry in published),
        count_entries(entries),
    )


def _spread(values: list[int]) -> Spread:
    return (min(values), median(values), max(values)) if values else (0, 0, 0)


def by_performance(entries: Iterable[PerformanceEntry]) -> dict[str, Tally]:
    """Return a sum for each performance, e2 before e10; the wigs of h1 share one."""
    groups: dict[str, list[PerformanceEntry]] = {}
    for entry in sorted(entries, key=lambda entry: entry.column_key):
        groups.setdefault(entry.column, []).append(entry)
    return {column: tally(group) for column, group in groups.items()}


def by_subject(entries: Iterable[PerformanceEntry]) -> dict[str, Tally]:
    """Return a sum for each subject, sorted."""
    groups: dict[str, list[PerformanceEntry]] = {}
    for entry in entries:
        groups.setdefault(entry.subject, []).append(entry)
    return {subject: tally(groups[subject]) for subject in sorted(groups)}
