"""Extractions of the simulated world: they take time, fill the disk, die, and leave a folder with a real marker."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import anyio

from rm360_async.domain.cameras.sets import resolve_cameras
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Performance
from rm360_async.domain.record import Record
from rm360_async.domain.release import released_content
from rm360_async.domain.selection import cameras_of
from rm360_async.extraction.job import ExtractJob
from rm360_async.extraction.worker_client import WorkerLimits
from rm360_async.store.marker import MARKER

if TYPE_CHECKING:
    from simulation.process import Process

_STEPS = 6
_FRAMES = 13


class SimulatedWorkers:
    """The simulated child processes of one process of the service."""

    def __init__(self, process: Process) -> None:
        self.process, self.world = process, process.world
        self._dice = Random(f"{self.world.seed} workers {process.name} {process.number}")

    async def probe(self, limits: WorkerLimits) -> None:
        """Start a child that does nothing."""
        await anyio.sleep(0)
        self.process.require_alive()
        self._begin("")

    async def extract(self, job: ExtractJob, limits: WorkerLimits, on_progress: Callable[[int, int], None]) -> Record:
        """Extract one performance in simulated time."""
        self._begin(job.performance)
        record = self._record(job)
        staging, disk = Path(job.staging), self.world.disk
        staging.mkdir(parents=True, exist_ok=True)
        disk.staging[staging] = 0
        dies_after = self._steps_until_death(job)
        new_bytes = max(0, record.bytes - self._reused_bytes(job))
        rate = self._dice.uniform(0.5, 1.5) * self.world.extract_rate
        seconds = self.world.scenario.worker_start + sum(source.size for source in job.sources) / rate
        if not self.world.calm and self._dice.random() < self.world.faults.slow:
            seconds *= 20
        for step in range(1, _STEPS + 1):
            await anyio.sleep(min(seconds, limits.deadline_seconds) / _STEPS)
            self.process.require_alive()
            disk.staging[staging] = new_bytes * step // _STEPS
            self.world.laws.check_space()
            if disk.space(staging).free_bytes <= 0:
                raise Fault(Cause.DISK_FULL, f"no room for {staging}")
            if step == dies_after:
                raise Fault(Cause.WORKER_DIED, f"the extraction process of {job.performance} was killed")
            on_progress(record.files * step // _STEPS, disk.staging[staging])
        if seconds > limits.deadline_seconds:
            raise Fault(Cause.DEADLINE, f"the extraction of {job.performance} did not end")
        (staging / MARKER).write_text(record.to_json())
        return record

    def _begin(self, subject: Performance | str) -> None:
        """Note that a child begins. Raises Fault(NOT_STARTED) where none can."""
        if not self.world.lets_processes_begin:
            raise Fault(Cause.NOT_STARTED, "a worker process was killed, before it had begun")
        self.world.note("begins", self.process, subject)

    def _steps_until_death(self, job: ExtractJob) -> int | None:
        """Return after which step the child dies; None if it lives."""
        if job.performance in self.world.poisoned_extractions:
            return 2
        dies = not self.world.calm and self._dice.random() < self.world.faults.death
        return self._dice.randint(1, _STEPS) if dies else None

    def _reused_bytes(self, job: ExtractJob) -> int:
        """Return the bytes of the published folder that is completed: its files are linked, not copied."""
        return self.world.disk.folders.get(Path(job.previous), 0) if job.previous is not None else 0

    def _record(self, job: ExtractJob) -> Record:
        structure, size = self.world.catalogue.structure, sum(source.size for source in job.sources)
        content = released_content(structure, job.performance.name)
        released = {modality.value for modality in content.modalities} if content else set(job.modalities)
        modalities = tuple(each for each in job.modalities if each in released)
        every = cameras_of(structure, job.performance)
        cameras = resolve_cameras(job.cameras, every)
        written = int(size * self._dice.uniform(0.95, 1.05) * len(cameras) / len(every))
        published = datetime.fromtimestamp(self.world.time.now()).astimezone().isoformat(timespec="seconds")
        return Record(
            job.performance.subject,
            job.performance.name,
            "simulated",
            published,
            job.sources,
            job.cameras,
            job.modalities,
            modalities,
            (),
            dict.fromkeys(cameras, _FRAMES),
            _FRAMES,
            None,
            (),
            _FRAMES * len(cameras),
            written,
            verdict="complete as released",
        )
