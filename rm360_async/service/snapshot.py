"""A run at one moment, from which the bars, `status`, systemd's status and the metrics are drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rm360_async.domain.formatting import duration_text, size_text, time_text


@dataclass(frozen=True)
class InHand:
    """One performance in hand: its stage, bytes done of total, and bytes a second since the stage began."""

    performance: str
    stage: str
    done: int
    total: int
    seconds: float
    rate: float
    note: str


@dataclass(frozen=True)
class Snapshot:
    """A run at one moment; sizes in bytes, times in unix seconds."""

    at: float
    planned: int
    completed: int
    failed: int
    waiting: int
    pending: int
    in_hand: tuple[InHand, ...]
    elsewhere: int
    fetched: int
    left: int
    rate: float
    expected_end: float | None
    next_due: float | None
    free: int | None

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Snapshot:
        """Return the snapshot in the values of `as_dict`."""
        return cls(**{**value, "in_hand": tuple(InHand(**each) for each in value["in_hand"])})

    def line(self) -> str:
        """Return it in one line, for a log or systemd."""
        parts = [f"{self.completed}/{self.planned} done"]
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [f"{self.waiting} waiting"] if self.waiting else []
        stages = Counter(each.stage for each in self.in_hand)
        parts += [f"{count} {stage}" for stage, count in stages.items()]
        parts += [f"{size_text(self.rate)}/s"] if self.rate else []
        parts += [f"{size_text(self.left)} to go"] if self.left else []
        parts += [f"expected end {time_text(self.expected_end)}"] if self.expected_end else []
        notes = [each.note for each in self.in_hand if each.note]
        parts += notes[:1]
        if self.next_due is not None and not self.in_hand and not self.pending:
            parts.append(f"next try {time_text(self.next_due)}")
        return ", ".join(parts)


def bar_text(each: InHand) -> str:
    """Return e.g. `3.2 of 6 GB, 48 MB/s, 1 min left`."""
    if not each.total:
        return each.note or duration_text(each.seconds)
    left = (each.total - each.done) / each.rate if each.rate > 0 else None
    parts = [f"{size_text(each.done)} of {size_text(each.total)}"]
    parts += [f"{size_text(each.rate)}/s"] if each.rate else []
    parts += [f"{duration_text(left)} left"] if left is not None and left > 0 else []
    return each.note or ", ".join(parts)
