"""The ledger and the claims as the pipeline sees them, and the commands that only need them."""

from __future__ import annotations

import sys
from pathlib import Path

from rm360_async.catalog import Performance, matches
from rm360_async.config import Settings
from rm360_async.errors import Cause, Fault
from rm360_async.ledger import Claims, Ledger, ManifestWriter, manifest_text, write_manifest
from rm360_async.lifecycle import ENDED, Stage
from rm360_async.logs import logger
from rm360_async.plan import Row, Verdict
from rm360_async.record import Record
from rm360_async.release import Word
from rm360_async.service.ledger_file import opened
from rm360_async.words import size_text, when
from rm360_async.work import Work

log = logger(__name__)


class LedgerBooks:
    """What the pipeline notes, in the ledger; the claim of a performance is held from `take` to `release`."""

    def __init__(
        self, ledger: Ledger, claims: Claims, run: int, numbers: dict[Performance, int], manifest: ManifestWriter
    ) -> None:
        self.ledger, self.claims, self.run, self.numbers, self.manifest = ledger, claims, run, numbers, manifest
        self._open_attempts: set[Performance] = set()

    async def take(self, performance: Performance) -> Row | None:
        """Claim a performance and return its row; None when another instance has it in hand."""
        if not self.claims.claim(self.numbers[performance]):
            return None
        return await self.ledger.row(performance)

    async def enter(self, work: Work) -> None:
        """Note the stage that the work is in; the first one of an attempt begins it."""
        if work.performance not in self._open_attempts:
            await self.ledger.begin_attempt(work.performance, self.run)
            self._open_attempts.add(work.performance)
        await self.ledger.move(work.performance, work.stage)
        self.manifest.touch()

    async def settle(self, work: Work, verdict: Verdict, fault: Fault) -> None:
        """Note a failure and what follows from it."""
        await self.ledger.move(
            work.performance,
            verdict.stage,
            cause=fault.cause,
            reason=str(fault),
            wait_until=verdict.wait_until,
            charge=verdict.charge,
            seconds=work.seconds,
            fetched=work.fetched_bytes,
        )
        self._open_attempts.discard(work.performance)
        self.manifest.touch()
        until = f", until {when(verdict.wait_until)}" if verdict.wait_until else ""
        tell = log.error if verdict.stage in ENDED else log.warning
        tell(f"{work.performance} {verdict.stage.value}{until}: {fault}")

    async def completed(self, work: Work, record: Record) -> None:
        """Note a published performance."""
        await self.ledger.completed(work.performance, record, seconds=work.seconds, fetched=work.fetched_bytes)
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
        if record.verdict.startswith(Word.DAMAGED):
            log.warning(f"{work.performance} is {record.verdict}")

    async def row(self, performance: Performance) -> Row:
        """Return the row as it stands now."""
        return await self.ledger.row(performance)

    async def release(self, performance: Performance) -> None:
        """Give the claim back; an attempt that nobody ended was interrupted.

        Where the ledger's disk is full the attempt stays open: without a claim it counts as crashed.
        """
        try:
            if performance in self._open_attempts:
                self._open_attempts.discard(performance)
                await self.ledger.end_attempt(performance)
        except Fault as fault:
            if fault.cause is not Cause.DISK_FULL:
                raise
            log.warning(f"{performance} was interrupted, which could not be noted: {fault}")
        finally:
            self.claims.release(self.numbers[performance])
            self.manifest.touch()


async def export_manifest(settings: Settings, output: str | None) -> int:
    """Write MANIFEST.csv from the ledger to its place, another one, or stdout ('-')."""
    async with opened(settings) as (ledger, claims):
        rows = await ledger.rows(claims=claims)
    if output == "-":
        sys.stdout.write(manifest_text(rows))
        return 0
    target = Path(output) if output else settings.storage.manifest_path
    await write_manifest(target, rows)
    print(f"{target}: {len(rows)} performances")
    return 0


async def retry(settings: Settings, subjects: tuple[str, ...], performances: tuple[str, ...]) -> int:
    """Put failed performances of the selection back to pending and say which."""
    async with opened(settings) as (ledger, _):
        failed = [row.performance for row in await ledger.rows() if row.stage in (Stage.FAILED, Stage.DOWNLOAD_FAILED)]
        chosen = [
            each
            for each in failed
            if (not subjects or each.subject in subjects) and (not performances or matches(each.name, performances))
        ]
        put_back = await ledger.retry(chosen)
    for each in put_back:
        print(f"{each}: pending")
    print(f"{len(put_back)} of {len(failed)} failed performances put back")
    return 0
