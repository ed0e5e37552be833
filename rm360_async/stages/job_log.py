"""What happens to jobs, in the ledger and in the log; and the claims that keep two instances off one performance."""

from __future__ import annotations

import anyio

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.formatting import size_text, time_text
from rm360_async.domain.record import Record, is_damaged
from rm360_async.domain.retry import RetryDecision
from rm360_async.domain.selection import FetchMode
from rm360_async.domain.stage import ENDED, Stage
from rm360_async.domain.state import PerformanceRow
from rm360_async.ledger import Claims, Ledger, ManifestWriter
from rm360_async.pipeline.job import Job
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.fault_points import reach
from rm360_async.system.log import emit_event, logger

log = logger(__name__)


class JobLog:
    """Record jobs in the ledger; the claim of a performance is held from `claim` to `release`."""

    def __init__(self, ledger: Ledger, claims: Claims, run: int, manifest: ManifestWriter) -> None:
        self.ledger, self.claims, self.run, self.manifest = ledger, claims, run, manifest

    async def claim(self, job: Job) -> PerformanceRow | None:
        """Claim the job's performance and return its row; None when another instance is working on it."""
        number = await self.ledger.row_number(job.performance)
        if not await on_disk_thread(self.claims.claim, number):
            return None
        job.row_number = number
        return await self.row(job)

    async def enter_stage(self, job: Job) -> None:
        """Record the stage that the job is in; the first stage of an attempt begins the attempt."""
        if not job.attempt_open:
            await self.ledger.attempts.begin(job.performance, self.run)
            job.attempt_open, job.fetched_bytes = True, 0
        await self.ledger.move(job.performance, job.stage)
        self.manifest.touch()
        log.debug(f"{job.performance} {job.stage.value}")
        emit_event("performance", performance=str(job.performance), status=job.stage.value)

    async def record_sources(self, job: Job) -> None:
        """Record the remote's files as they were looked up."""
        await self.ledger.record_listing({job.performance: list(job.sources.values())})

    def log_start(self, job: Job, spooled_bytes: int) -> None:
        """Log how a job is downloaded, and what an earlier attempt has left of it."""
        by_ranges = job.fetch_mode is FetchMode.RANGES
        what = f"ranges of {size_text(job.source_bytes)}" if by_ranges else size_text(job.source_bytes)
        again = f", resuming after {size_text(spooled_bytes)}" if spooled_bytes else ""
        adding = ", to complete its folder" if job.previous is not None else ""
        log.info(f"{job.performance}: downloading {what}{again}{adding}")

    async def record_spooled(self, job: Job, spooled_bytes: int) -> None:
        """Record what a killed run had downloaded of the job and not recorded, if anything is in the spool."""
        if spooled_bytes:
            try:
                await self.ledger.attempts.add_unrecorded(job.performance, spooled_bytes)
            except Fault as fault:  # only the total of all downloads needs it
                log.warning(f"cannot record what earlier attempts at {job.performance} have downloaded: {fault}")

    async def record_failure(self, job: Job, decision: RetryDecision, fault: Fault) -> None:
        """Record a failure and what follows from it; ends the attempt."""
        await self.ledger.move(
            job.performance,
            decision.stage,
            cause=fault.cause,
            reason=str(fault),
            wait_until=decision.wait_until,
            counts_as_try=decision.counts_as_try,
            seconds=job.seconds,
            fetched_bytes=job.fetched_bytes,
        )
        reach("failure recorded")
        job.attempt_open = False
        self.manifest.touch()
        until = f", until {time_text(decision.wait_until)}" if decision.wait_until else ""
        write = log.error if decision.stage in ENDED else log.warning
        write(f"{job.performance} {decision.stage.value}{until}: {fault}")
        values = {"cause": fault.cause.code, "reason": str(fault), "until": decision.wait_until}
        emit_event("performance", performance=str(job.performance), status=decision.stage.value, **values)

    async def record_completed(self, job: Job, record: Record) -> None:
        """Record a published performance; ends the attempt."""
        await self.ledger.record_completed(
            job.performance, record, seconds=job.seconds, fetched_bytes=job.fetched_bytes
        )
        job.attempt_open = False
        self.manifest.touch()
        log.info(
            f"published {job.performance}",
            fetched=size_text(job.fetched_bytes),
            size=size_text(record.bytes),
            files=record.files,
            cameras=record.cameras_extracted,
            frames=record.frames,
            **{f"{step}_s": round(seconds, 2) for step, seconds in job.seconds.items()},
        )
        values = {"verdict": record.verdict, "bytes": record.bytes, "bytes_fetched": job.fetched_bytes}
        emit_event("performance", performance=str(job.performance), status=Stage.COMPLETED.value, **values)
        for item in record.left_out:
            log.warning(f"{job.performance} left out: {item}")
        if is_damaged(record.verdict):
            log.warning(f"{job.performance} is {record.verdict}")

    async def row(self, job: Job) -> PerformanceRow:
        """Return the job's row as it is now."""
        return await self.ledger.row(job.performance)

    async def release(self, job: Job) -> None:
        """Release the claim; an attempt that is still open was interrupted.

        If the ledger's disk is full the attempt stays open: without a claim it counts as crashed.
        """
        try:
            if job.attempt_open:
                job.attempt_open = False
                await self.ledger.attempts.interrupt(job.performance, job.seconds, job.fetched_bytes)
        except Fault as fault:
            if fault.cause is not Cause.DISK_FULL:
                raise
            log.warning(f"{job.performance} was interrupted, which could not be recorded: {fault}")
        finally:
            if job.row_number is not None:
                with anyio.CancelScope(shield=True):
                    await on_disk_thread(self.claims.release, job.row_number)
            self.manifest.touch()
