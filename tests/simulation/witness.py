"""Thin layers over the real parts that tell the laws what happens; they decide nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anyio.lowlevel import checkpoint

from rm360_async.domain.errors import Fault
from rm360_async.domain.record import Record
from rm360_async.domain.retry import RetryDecision
from rm360_async.domain.state import PerformanceRow
from rm360_async.ledger import ManifestWriter
from rm360_async.pipeline.job import Job
from rm360_async.pipeline.scheduler import Scheduler
from rm360_async.stages.job_log import JobLog
from rm360_async.stages.stages import Stages

if TYPE_CHECKING:
    from simulation.process import Process


class WitnessedScheduler(Scheduler):
    """The real scheduler; the laws see every job that it hands out, before it does."""

    def __init__(self, process: Process) -> None:
        super().__init__(clock=process.clock, retry_interval=process.world.poll_seconds)
        self.process = process
        self._world = process.world

    async def next_job(self, wait_for_turn: Callable[[], Awaitable[None]] = checkpoint) -> Job | None:
        """Return the next job."""
        job = await super().next_job(wait_for_turn)
        if job is not None:
            self._world.note("handed out", self.process, job.performance)
        return job


class WitnessedLog(JobLog):
    """The real job log of a process; every line of it is an event."""

    def __init__(self, process: Process, run: int, manifest: ManifestWriter) -> None:
        super().__init__(process.ledger, process.claims, run, manifest)
        self.process, self._world = process, process.world

    async def claim(self, job: Job) -> PerformanceRow | None:
        """Claim the job's performance."""
        row = await super().claim(job)
        self._world.note("claimed" if row is not None else "held by others", self.process, job.performance)
        return row

    async def enter_stage(self, job: Job) -> None:
        """Record the stage that the job is in."""
        await super().enter_stage(job)
        self._world.note(job.stage.value, self.process, job.performance)

    async def record_failure(self, job: Job, decision: RetryDecision, fault: Fault) -> None:
        """Record a failure."""
        self._world.laws.charged(self.process, job.performance, decision)
        await self.write_failure(job, decision, fault)
        self._world.note(decision.stage.value, self.process, job.performance, fault.cause.code)

    async def write_failure(self, job: Job, decision: RetryDecision, fault: Fault) -> None:
        """Record it in the ledger; a mutant does this otherwise."""
        await super().record_failure(job, decision, fault)

    async def record_completed(self, job: Job, record: Record) -> None:
        """Record a published performance."""
        await super().record_completed(job, record)
        self._world.note("completed", self.process, job.performance)

    async def release(self, job: Job) -> None:
        """Release the claim."""
        held = job.row_number is not None and self.process.alive
        await super().release(job)
        if held:
            self._world.note("released", self.process, job.performance)


@dataclass(frozen=True)
class WitnessedStages(Stages):
    """The real stages with simulated child processes; a folder that gets its final name is counted on the disk."""

    async def publish(self, job: Job, record: Record) -> None:
        """Make the folder appear under its final name."""
        await super().publish(job, record)
        log = self.job_log
        assert isinstance(log, WitnessedLog) and job.staging_dir is not None
        log.process.world.disk.publish(job.staging_dir, job.target, record.bytes)
        log.process.world.note("published", log.process, job.performance)
