"""How far a run is: looks at its books and its work in hand, and takes snapshots."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping

from rm360_async.budget import Budget, SystemDisk
from rm360_async.domain.errors import Fault
from rm360_async.domain.names import Performance
from rm360_async.domain.stage import Stage
from rm360_async.pipeline.job import Job
from rm360_async.pipeline.scheduler import Scheduler
from rm360_async.service.snapshot import InHand, Snapshot

RATE_WINDOW = 120.0
"""Seconds over which the download rate is averaged."""


class Progress:
    """Looks at the books and the work in hand, and keeps the rate of the downloads."""

    def __init__(
        self,
        agenda: Scheduler,
        hand: Mapping[Performance, Job],
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

    def _in_hand(self, work: Job) -> InHand:
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
