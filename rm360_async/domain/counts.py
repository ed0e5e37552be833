"""How many performances are in which state, in the words of the manifest: the one text of it for all who print it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rm360_async.domain.record import is_damaged
from rm360_async.domain.stage import CLAIMED_STAGES, FAILURES, Stage
from rm360_async.domain.state import PerformanceRow


@dataclass(frozen=True)
class StateCounts:
    """The number of performances in each stage; `damaged` counts those of the completed ones whose verdict says so.

    A performance failed whether its download or its extraction did; it is running in any stage that a process works at.
    """

    stages: Mapping[Stage, int]
    damaged: int = 0

    @property
    def planned(self) -> int:
        """Return the number of all performances."""
        return sum(self.stages.values())

    @property
    def completed(self) -> int:
        """Return the number of published performances, damaged ones included."""
        return self.stages.get(Stage.COMPLETED, 0)

    @property
    def failed(self) -> int:
        """Return the number of performances that failed."""
        return sum(self.stages.get(stage, 0) for stage in FAILURES)

    @property
    def waiting(self) -> int:
        """Return the number of performances that wait."""
        return self.stages.get(Stage.WAITING, 0)

    @property
    def pending(self) -> int:
        """Return the number of performances that have not been begun."""
        return self.stages.get(Stage.PENDING, 0)

    @property
    def running(self) -> int:
        """Return the number of performances that a process works at."""
        return sum(self.stages.get(stage, 0) for stage in CLAIMED_STAGES)

    def __str__(self) -> str:
        """Return e.g. `27 completed (1 damaged), 2 failed, 1 waiting, 3 downloading, 4 pending`; "" for none."""
        running = [(stage.value, self.stages.get(stage, 0)) for stage in Stage if stage in CLAIMED_STAGES]
        named = [("failed", self.failed), ("waiting", self.waiting), *running, ("pending", self.pending)]
        damaged = f" ({self.damaged} damaged)" if self.damaged else ""
        parts = [f"{self.completed} completed{damaged}"] if self.completed else []
        return ", ".join([*parts, *(f"{count} {name}" for name, count in named if count)])


def count_states(rows: Iterable[PerformanceRow]) -> StateCounts:
    """Return how many of the rows are in each state."""
    rows = list(rows)
    damaged = sum(row.stage is Stage.COMPLETED and is_damaged(row.verdict) for row in rows)
    return StateCounts(Counter(row.stage for row in rows), damaged)
