"""How far a run is: one snapshot, from which the bars, `status`, systemd's status and the metrics are drawn."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rm360_async.agenda import Agenda
from rm360_async.budget import Budget, SystemDisk
from rm360_async.catalog import Performance
from rm360_async.errors import Fault
from rm360_async.lifecycle import Stage
from rm360_async.pipeline import Work
from rm360_async.service.words import duration, size_text, when

RATE_WINDOW = 120.0
"""Seconds over which the download rate is averaged."""


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
        parts += [f"expected end {when(self.expected_end)}"] if self.expected_end else []
        notes = [each.note for each in self.in_hand if each.note]
        parts += notes[:1]
        if self.next_due is not None and not self.in_hand and not self.pending:
            parts.append(f"next try {when(self.next_due)}")
        return ", ".join(parts)


class Progress:
    """Looks at the books and the work in hand, and keeps the rate of the downloads."""

    def __init__(
        self,
        agenda: Agenda,
        hand: Mapping[Performance, Work],
        sizes: Mapping[Performance, int],
        budget: Budget,
        fetched: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.agenda, self.hand, self.sizes, self.budget = agenda, hand, sizes, budget
        self._clock = clock
        self._fetched = fetched
        self._history: deque[tuple[float, int]] = deque()

    def snapshot(self) -> Snapshot:
        """Return the run as it is now."""
        ended = Counter(self.agenda.ended.values())
        rate = self._rate()
        left = self._left()
        return Snapshot(
            at=time.time(),
            planned=self.agenda.planned,
            completed=ended[Stage.COMPLETED],
            failed=ended[Stage.FAILED] + ended[Stage.DOWNLOAD_FAILED],
            waiting=len(self.agenda.waiting),
            pending=len(self.agenda.pending),
            in_hand=tuple(self._in_hand(work) for work in self.hand.values()),
            elsewhere=len(self.agenda.elsewhere),
            fetched=self._fetched(),
            left=left,
            rate=rate,
            expected_end=self._expected_end(left, rate),
            next_due=self.agenda.first_due(),
            free=self._free(),
        )

    def _in_hand(self, work: Work) -> InHand:
        seconds = time.monotonic() - work.since
        moved = work.fetched_bytes if work.stage is Stage.DOWNLOADING else work.done_bytes
        rate = moved / seconds if seconds > 1 else 0.0
        return InHand(
            str(work.performance), work.stage.value, work.done_bytes, work.total_bytes, seconds, rate, work.note
        )

    def _rate(self) -> float:
        """Return bytes a second over the last window."""
        now = self._clock()
        self._history.append((now, self._fetched()))
        while len(self._history) > 2 and self._history[0][0] < now - RATE_WINDOW:
            self._history.popleft()
        first_at, first = self._history[0]
        return (self._fetched() - first) / (now - first_at) if now > first_at else 0.0

    def _left(self) -> int:
        still = [*self.agenda.pending, *self.agenda.waiting]
        downloading = [work for work in self.hand.values() if work.stage is Stage.DOWNLOADING]
        rest = sum(max(0, self.sizes.get(work.performance, 0) - work.done_bytes) for work in downloading)
        return rest + sum(self.sizes.get(each, 0) for each in still)

    def _expected_end(self, left: int, rate: float) -> float | None:
        if not left or rate <= 0:
            return None
        waits = [wait.until for wait in self.agenda.waiting.values()]
        return max([time.time() + left / rate, *waits])

    def _free(self) -> int | None:
        try:
            return SystemDisk().space(self.budget.output_dir).free_bytes
        except (OSError, Fault):
            return None


def bar_text(each: InHand) -> str:
    """Return e.g. `3.2 of 6 GB, 48 MB/s, 1 min left`."""
    if not each.total:
        return each.note or duration(each.seconds)
    left = (each.total - each.done) / each.rate if each.rate > 0 else None
    parts = [f"{size_text(each.done)} of {size_text(each.total)}"]
    parts += [f"{size_text(each.rate)}/s"] if each.rate else []
    parts += [f"{duration(left)} left"] if left is not None and left > 0 else []
    return each.note or ", ".join(parts)
