"""The progress of a run: takes snapshots of the scheduler and its jobs, and averages the download rate."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from pathlib import Path

import anyio

from rm360_async.budget import Budget, SystemDisk
from rm360_async.domain.clock import SYSTEM_CLOCK, Clock
from rm360_async.domain.names import Performance
from rm360_async.domain.node_state import NodeState
from rm360_async.domain.stage import Stage
from rm360_async.pipeline.job import Job
from rm360_async.pipeline.scheduler import Scheduler
from rm360_async.service.snapshot import ActiveJob, Snapshot
from rm360_async.system.disk_threads import on_disk_thread

RATE_WINDOW_SECONDS = 120.0
"""The download rate is averaged over this time."""
FREE_SPACE_SECONDS = 2.0


class Progress:
    """Takes snapshots of a run; `sizes` are the bytes to download of each performance, `fetched` those so far."""

    def __init__(
        self,
        scheduler: Scheduler,
        sizes: Mapping[Performance, int],
        budget: Budget,
        fetched: Callable[[], int],
        clock: Clock = SYSTEM_CLOCK,
        line: Callable[[], tuple[int, str]] = lambda: (0, ""),
        nodes: Callable[[], tuple[NodeState, ...]] = lambda: (),
    ) -> None:
        """`line` gives the number of connections now, and what bounds the downloads as far as they know."""
        self._line, self._nodes = line, nodes
        self.scheduler, self.sizes, self.budget = scheduler, sizes, budget
        self._clock = clock
        self._fetched = fetched
        self._history: deque[tuple[float, int]] = deque()
        self._free_bytes: int | None = None

    def snapshot(self) -> Snapshot:
        """Return the run as it is now; the free space as `measure_free_bytes` last found it."""
        ended = Counter(self.scheduler.ended.values())
        rate = self._rate()
        left = self._bytes_left()
        connections, bound = self._line()
        return Snapshot(
            at=self._clock.now(),
            planned=self.scheduler.planned,
            completed=ended[Stage.COMPLETED],
            failed=ended[Stage.FAILED] + ended[Stage.DOWNLOAD_FAILED],
            waiting=len(self.scheduler.waiting),
            pending=len(self.scheduler.pending),
            in_hand=tuple(self._active_job(job) for job in self.scheduler.active.values()),
            elsewhere=len(self.scheduler.held_by_others),
            fetched=self._fetched(),
            left=left,
            rate=rate,
            expected_end=self._expected_end(left, rate),
            next_due=self.scheduler.first_due(),
            free=self._free_bytes,
            trouble=self.scheduler.trouble,
            connections=connections,
            held_back_by=bound or self._bound_behind_downloads(),
            nodes=self._nodes(),
        )

    def _bound_behind_downloads(self) -> str:
        """Return what keeps the next file from being downloaded although nothing else is."""
        if not self.scheduler.pending:
            return ""
        active = self.scheduler.active.values()
        if any(job.progress.lacks_disk for job in active):
            return "disk space"
        return "extraction" if any(job.stage is not Stage.DOWNLOADING for job in active) else ""

    def _active_job(self, job: Job) -> ActiveJob:
        progress = job.progress
        seconds = self._clock.monotonic() - progress.since
        moved = job.fetched_bytes if job.stage is Stage.DOWNLOADING else progress.done_bytes
        rate = moved / seconds if seconds > 1 else 0.0
        return ActiveJob(
            str(job.performance),
            job.stage.value,
            progress.done_bytes,
            max(progress.total_bytes, progress.done_bytes) if progress.total_bytes else 0,  # it may be an estimate
            seconds,
            rate,
            progress.note,
            progress.lacks_disk,
            job.fetched_bytes,
        )

    def _rate(self) -> float:
        """Return the download rate over the last window, in bytes/s."""
        now = self._clock.monotonic()
        self._history.append((now, self._fetched()))
        while len(self._history) > 2 and self._history[0][0] < now - RATE_WINDOW_SECONDS:
            self._history.popleft()
        start, bytes_at_start = self._history[0]
        return (self._fetched() - bytes_at_start) / (now - start) if now > start else 0.0

    def _bytes_left(self) -> int:
        not_started = [*self.scheduler.pending, *self.scheduler.waiting]
        downloading = [job for job in self.scheduler.active.values() if job.stage is Stage.DOWNLOADING]
        rest = sum(max(0, self.sizes.get(job.performance, 0) - job.progress.done_bytes) for job in downloading)
        return rest + sum(self.sizes.get(each, 0) for each in not_started)

    def _expected_end(self, left: int, rate: float) -> float | None:
        if not left or rate <= 0:
            return None
        waits = [wait.until for wait in self.scheduler.waiting.values()]
        return max([self._clock.now() + left / rate, *waits])

    async def measure_free_bytes(self) -> None:
        """Ask the output disk for its free space, every few seconds, until cancelled."""
        while True:
            self._free_bytes = await on_disk_thread(_free_bytes, self.budget.output_dir)
            await anyio.sleep(FREE_SPACE_SECONDS)


def _free_bytes(folder: Path) -> int | None:
    try:
        return SystemDisk().space(folder).free_bytes
    except OSError:
        return None
