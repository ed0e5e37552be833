"""The ledger and the claims as the pipeline sees them, and the commands that only need them."""

from __future__ import annotations

from rm360_async.domain.completeness import CompletenessLevel
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.formatting import size_text, when
from rm360_async.domain.names import Performance
from rm360_async.domain.record import Record
from rm360_async.domain.retry import RetryDecision
from rm360_async.domain.stage import ENDED
from rm360_async.domain.state import PerformanceRow
from rm360_async.ledger import Claims, Ledger, ManifestWriter
from rm360_async.pipeline.job import Job
from rm360_async.system.fault_points import reach
from rm360_async.system.log import logger

log = logger(__name__)


class JobLog:
    """What the pipeline notes, in the ledger; the claim of a performance is held from `take` to `release`."""

    def __init__(
        self, ledger: Ledger, claims: Claims, run: int, numbers: dict[Performance, int], manifest: ManifestWriter
    ) -> None:
        self.ledger, self.claims, self.run, self.numbers, self.manifest = ledger, claims, run, numbers, manifest
        self._open_attempts: set[Performance] = set()

    async def take(self, performance: Performance) -> PerformanceRow | None:
        """Claim a performance and return its row; None when another instance has it in hand."""
        if not self.claims.claim(self.numbers[performance]):
            return None
        return await self.ledger.row(performance)

    async def enter(self, work: Job) -> None:
        """Note the stage that the work is in; the first one of an attempt begins it."""
        if work.performance not in self._open_attempts:
            await self.ledger.attempts.begin(work.performance, self.run)
            self._open_attempts.add(work.performance)
        await self.ledger.move(work.performance, work.stage)
        self.manifest.touch()

    async def settle(self, work: Job, verdict: RetryDecision, fault: Fault) -> None:
        """Note a failure and what follows from it."""
        await self.ledger.move(
            work.performance,
            verdict.stage,
            cause=fault.cause,
            reason=str(fault),
            wait_until=verdict.wait_until,
            counts_as_try=verdict.charge,
            seconds=work.seconds,
            fetched_bytes=work.fetched_bytes,
        )
        self._open_attempts.discard(work.performance)
        self.manifest.touch()
        until = f", until {when(verdict.wait_until)}" if verdict.wait_until else ""
        tell = log.error if verdict.stage in ENDED else log.warning
        tell(f"{work.performance} {verdict.stage.value}{until}: {fault}")
        reach("failure recorded")

    async def completed(self, work: Job, record: Record) -> None:
        """Note a published performance."""
        await self.ledger.record_completed(
            work.performance, record, seconds=work.seconds, fetched_bytes=work.fetched_bytes
        )
        self._open_attempts.discard(work.performance)
        self.manifest.touch()
        log.info(
            f"published {work.performance}",
            fetched=size_text(work.fetched_bytes),
            size=size_text(record.bytes),
            files=record.files,
            cameras=record.cameras_extracted,
            frames=record.frames,
            **{f"{step}_s": round(seconds, 2) for step, seconds in work.seconds.items()},
        )
        for item in record.left_out:
            log.warning(f"{work.performance} left out: {item}")
        if record.verdict.startswith(CompletenessLevel.DAMAGED):
            log.warning(f"{work.performance} is {record.verdict}")

    async def row(self, performance: Performance) -> PerformanceRow:
        """Return the row as it stands now."""
        return await self.ledger.row(performance)

    async def release(self, performance: Performance) -> None:
        """Give the claim back; an attempt that nobody ended was interrupted.

        Where the ledger's disk is full the attempt stays open: without a claim it counts as crashed.
        """
        try:
            if performance in self._open_attempts:
                self._open_attempts.discard(performance)
                await self.ledger.attempts.interrupt(performance)
        except Fault as fault:
            if fault.cause is not Cause.DISK_FULL:
                raise
            log.warning(f"{performance} was interrupted, which could not be noted: {fault}")
        finally:
            self.claims.release(self.numbers[performance])
            self.manifest.touch()
