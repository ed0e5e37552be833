"""Checks of the laws about what a run shows: its scheduler, its progress and the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from rm360_async.domain.stage import Stage
from rm360_async.pipeline.pipeline import MAX_QUEUED
from simulation.laws import STARTS, STATUS
from simulation.recorder import Recorder

if TYPE_CHECKING:
    from simulation.process import Process

_START_SECONDS = 60.0
_MOMENT = 5.0


class StatusChecks(Recorder):
    """What a person sees who looks at a run."""

    async def check_status(self, process: Process) -> None:
        """STATUS, STARTS: compare the scheduler with the ledger, and count its performances."""
        scheduler = process.scheduler
        ended, waiting = dict(scheduler.ended), dict(scheduler.waiting)
        self._check_counts(process)
        for row in await process.ledger.rows([*ended, *waiting]):
            shown, wait = ended.get(row.performance), waiting.get(row.performance)
            changed = (
                scheduler.ended.get(row.performance) is not shown or scheduler.waiting.get(row.performance) != wait
            )
            others = self.world.scenario.instances > 1 and shown is not Stage.COMPLETED  # may be working on it
            if changed or others or self.is_just_retried(row.performance):
                continue
            if row.stage is not (shown or Stage.WAITING) or (wait is not None and row.wait_until != wait.until):
                self.breach(STATUS, f"{row.performance} is {row.stage.value} in the ledger; shown: {shown or wait}")
        await self._check_starts(process)

    def _check_counts(self, process: Process) -> None:
        assert process.progress is not None
        self.world.line.update()
        shown = process.progress.snapshot()
        parts = (shown.completed, shown.failed, shown.waiting, shown.pending, len(shown.in_hand), shown.elsewhere)
        if sum(parts) != shown.planned or shown.left < 0 or shown.fetched > self.world.line.carried:
            self.breach(STATUS, f"{process} shows {shown}")

    async def _check_starts(self, process: Process) -> None:
        """STARTS: a downloader takes what may start; between two jobs it is free for a moment."""
        idle = _is_idle(process)
        if idle:
            await anyio.sleep(_MOMENT)
        if idle and process.alive and _is_idle(process):
            self.breach(STARTS, f"{process} downloads nothing, and something may start")


def _is_idle(process: Process) -> bool:
    """Return True if something may start, and a download and the queue have room for it."""
    scheduler, before = process.scheduler, process.clock.now() - _START_SECONDS
    may_start = bool(scheduler.pending) or any(wait.until < before for wait in scheduler.waiting.values())
    stages = [job.stage for job in scheduler.active.values()]
    downloading = sum(stage in (Stage.DOWNLOADING, Stage.WAITING) for stage in stages)
    has_room = downloading < process.world.scenario.downloads and len(stages) < MAX_QUEUED
    return may_start and has_room and not scheduler.stopping and not scheduler.trouble
