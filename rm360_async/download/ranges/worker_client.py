"""Run the child that fetches ranges (see `ranges.scout`) to its end, and look at the clock meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio

from rm360_async.domain.errors import Cause, Fault
from rm360_async.download.ranges.job import PASSWORD_VARIABLE, RangeJob
from rm360_async.download.rclone import StallPolicy, StallWatch
from rm360_async.pipeline.job import Job
from rm360_async.system.worker_protocol import environment_of_child, run_worker


class RangeWorkerWatchdog:
    """Judge a scout tick by tick: without bytes it stands still, unless it reads what is here already.

    That takes minutes for an index of a hundred thousand pictures or a disk that has to prove a file, and is
    bounded by the deadline of an extraction.
    """

    def __init__(self, pace: StallPolicy, deadline_seconds: float) -> None:
        self._watch = StallWatch(0, pace.silent_ticks, pace.trickle_ticks)
        self._tick_seconds, self._deadline_seconds = pace.tick_seconds, deadline_seconds
        self._looked = 0.0

    def tick(self, fetched: int, looking: bool) -> Fault | None:
        """Take the bytes so far, and whether it reads; return why it is to be ended."""
        if looking:
            self._looked += self._tick_seconds
            if self._looked < self._deadline_seconds:
                return None
            minutes = f"{self._deadline_seconds / 60:.3g} minutes"
            return Fault(Cause.DEADLINE, f"what is here of the file was not read within {minutes}")
        stalled = self._watch.tick(fetched)
        return Fault(Cause.STALL, f"fetching ranges: {stalled}") if stalled else None


class RangeWorkerClient:
    """One scout: what it has said, and the bytes that it has fetched."""

    def __init__(self, order: RangeJob, job: Job, on_bytes: Callable[[int], None]) -> None:
        self._order, self._job, self._on_bytes = order, job, on_bytes
        self._begun = sum(_allocated(Path(file.local)) for file in order.files.values())
        self._fetched, self._looking = 0, False
        self._last: dict[str, Any] = {}

    async def run(self, password: str, pace: StallPolicy, deadline_seconds: float) -> dict[str, Any]:
        """Return its last line. Raises Fault for a stall, for the deadline and for its death."""
        command = [sys.executable, "-m", "rm360_async.download.ranges.worker", self._order.to_json()]
        vigil, ended = RangeWorkerWatchdog(pace, deadline_seconds), list[Fault]()
        code, errors = None, b""
        async with anyio.create_task_group() as tasks:

            async def look_on() -> None:
                while not ended:
                    await anyio.sleep(pace.tick_seconds)
                    if fault := vigil.tick(self._fetched, self._looking):
                        ended.append(fault)
                tasks.cancel_scope.cancel()

            tasks.start_soon(look_on)
            code, errors = await run_worker(
                command, {**environment_of_child(), PASSWORD_VARIABLE: password}, self._hear
            )
            tasks.cancel_scope.cancel()
        performance = self._job.performance
        if ended:
            raise Fault(ended[0].cause, f"{performance}: {ended[0].message}")
        if not self._last:
            last = (errors.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            raise Fault(Cause.WORKER_DIED, f"the process that fetches {performance} ended with {code}: {last}")
        return self._last

    def _hear(self, line: dict[str, Any]) -> None:
        self._looking = line.get("looking", self._looking)
        fetched = line["progress"][0] if "progress" in line else line.get("fetched", self._fetched)
        if fetched > self._fetched:
            self._on_bytes(fetched - self._fetched)
            self._fetched = fetched
        self._job.progress.done_bytes = self._job.spooled_bytes = self._begun + self._fetched
        if "progress" not in line and "looking" not in line:
            self._last = line


def _allocated(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_blocks * 512
    return 0
