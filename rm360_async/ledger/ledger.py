"""The ledger: stages and sources of the performances; one method, one transaction.

Every change of a stage is checked against `domain.stage.MOVES` inside its transaction. The methods for a
performance that is being processed (`move`, `record_completed`, and those of `attempts`) are for the holder of its
claim; a row in one of CLAIMED_STAGES that no process has claimed means `pending` (`rows(claims=...)` reads it so).
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio

from rm360_async.domain.errors import Cause
from rm360_async.domain.names import Performance
from rm360_async.domain.record import Record, SourceFile
from rm360_async.domain.stage import CLAIMED_STAGES, Stage, check_move
from rm360_async.domain.state import PerformanceRow, PlannedState
from rm360_async.ledger import rows as table
from rm360_async.ledger.attempts import Attempts, close_attempt
from rm360_async.ledger.claims import Claims
from rm360_async.ledger.database import Database, connect
from rm360_async.ledger.errors import ledger_faults
from rm360_async.ledger.hints import Hints
from rm360_async.ledger.ledger_file import ledger_path, lock_path
from rm360_async.ledger.migrations import prepare
from rm360_async.ledger.requests import Requests
from rm360_async.ledger.retries import retry_while_locked
from rm360_async.ledger.rows import COLUMNS, select_row
from rm360_async.ledger.runs import Runs
from rm360_async.ledger.values import Totals
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.fault_points import reach


class Ledger:
    """The ledger of one manifest; safe with several instances on the same file, and with readers."""

    def __init__(self, database: Database, now: Callable[[], float] = time.time) -> None:
        self._database, self._now = database, now
        self.attempts, self.requests = Attempts(database, now), Requests(database, now)
        self.runs, self.hints = Runs(database, now), Hints(database, now)
        self.needs_migration = database.needs_migration
        """The file is of an earlier version, which the next process that writes migrates."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls, path: Path, *, create: bool = True, read_only: bool = False, now: Callable[[], float] = time.time
    ) -> AsyncIterator[Ledger]:
        """Open the ledger at `path`, created first if there is none and `create`; closed at the end in every case.

        A ledger of an earlier version is migrated; with `read_only`, where nothing can be written, only in memory.
        Raises Fault(LEDGER) for a file that is missing, foreign, damaged, of a newer version, or to be migrated
        while others work with it; Fault(NOT_WRITABLE) or Fault(DISK_FULL) if it cannot be written. Every method
        raises these too.
        """
        with ledger_faults(path):
            await retry_while_locked(on_disk_thread, partial(prepare, path, create=create, read_only=read_only))
        async with connect(path, read_only=read_only) as database:
            yield cls(database, now)

    async def add(self, performances: Iterable[Performance]) -> None:
        """Enter performances as pending; those that the ledger knows stay as they are."""
        now = self._now()
        async with self._database.write() as sql:
            await table.insert_pending(sql, [(performance, now) for performance in performances])
        reach("performances added")

    async def row_numbers(self) -> dict[Performance, int]:
        """Return the row number of each performance, which is its number among the claims; it never changes."""
        async with self._database.read() as sql:
            rows = await sql.fetch_all("SELECT subject, name, id FROM performance")
        return {Performance(subject, name): number for subject, name, number in rows}

    async def row_number(self, performance: Performance) -> int:
        """Return the row number of one performance; Fault(LEDGER) if there is none."""
        async with self._database.read() as sql:
            number, _ = await select_row(sql, performance)
            return number

    async def rows(
        self, selection: Collection[Performance] | None = None, *, claims: Claims | None = None
    ) -> list[PerformanceRow]:
        """Return the rows (of the selection), sorted by subject and performance.

        With `claims`, a row in one of CLAIMED_STAGES that no live process has claimed is returned as pending.
        """
        async with self._database.read() as sql:
            rows = await sql.fetch_all(f"SELECT {COLUMNS} FROM performance")
            sources = await sql.fetch_all("SELECT performance, path, size, md5, modified FROM source ORDER BY place")
        # In a thread, since thousands of rows would block the event loop for a tenth of a second.
        return await on_disk_thread(table.rows_from_values, rows, sources, selection, claims)

    async def row(self, performance: Performance) -> PerformanceRow:
        """Return the row of one performance as it is stored; Fault(LEDGER) if there is none."""
        async with self._database.read() as sql:
            number, row = await select_row(sql, performance)
            return replace(row, sources=await table.select_sources(sql, number))

    async def overview(self, claims: Claims) -> tuple[Totals, list[PerformanceRow]]:
        """Return the totals and, of the same moment, the sorted rows that are neither pending nor completed.

        A row in one of CLAIMED_STAGES that no live process has claimed counts as pending. The completed rows, which
        are nearly all in the end, are not read.
        """
        async with self._database.read() as sql:
            return await table.select_overview(sql, claims)

    async def move(
        self,
        performance: Performance,
        stage: Stage,
        *,
        cause: Cause | None = None,
        reason: str = "",
        wait_until: float | None = None,
        counts_as_try: bool = False,
        seconds: Mapping[str, float] | None = None,
        fetched_bytes: int = 0,
    ) -> None:
        """Put a performance into a stage.

        A stage outside CLAIMED_STAGES ends the open attempt with that outcome, its seconds for each step and the bytes
        it fetched. A completed one that is put back (its folder is gone) loses its counts. Raises IllegalMove.
        """
        now = self._now()
        async with self._database.write() as sql:
            number, row = await select_row(sql, performance)
            check_move(row.stage, stage)
            if row.stage is Stage.COMPLETED and stage is not Stage.COMPLETED and not row.forced:
                row = row.without_folder()
            tries = row.tries + int(counts_as_try)
            row = replace(row, stage=stage, tries=tries, cause=cause, reason=reason, wait_until=wait_until, updated=now)
            await table.update_rows(sql, {number: row})
            if stage not in CLAIMED_STAGES:
                await close_attempt(sql, number, stage.value, now, cause, reason, seconds, fetched_bytes)
        reach("stage recorded")

    async def record_completed(
        self,
        performance: Performance,
        record: Record,
        *,
        seconds: Mapping[str, float] | None = None,
        fetched_bytes: int = 0,
    ) -> None:
        """Record a published performance with the counts of its record; ends the open attempt."""
        now = self._now()
        async with self._database.write() as sql:
            number, row = await select_row(sql, performance)
            check_move(row.stage, Stage.COMPLETED)
            await table.update_rows(sql, {number: table.row_from_record(performance, record, now)})
            outcome = Stage.COMPLETED.value
            await close_attempt(sql, number, outcome, now, seconds=seconds, fetched_bytes=fetched_bytes)
        reach("completion recorded")

    async def record_listing(self, listing: Mapping[Performance, Sequence[SourceFile]]) -> None:
        """Store the remote's files of performances, as now listed, in place of the known ones; all must be known."""
        async with self._database.write() as sql:
            numbers = {performance: (await select_row(sql, performance))[0] for performance in listing}
            await table.replace_sources(sql, {numbers[each]: sources for each, sources in listing.items()})
        reach("sources recorded")

    async def apply_plan(self, plan: Mapping[Performance, PlannedState], claims: Claims | None = None) -> None:
        """Put performances into their planned states at the start of a run, in one transaction.

        Each goes back to pending and from there to its state, so an ended one that is to be done again has
        all its tries. Rows that are in their state already, and those that a live process has claimed, stay as
        they are. A planned state of completed brings no counts; `import_rows` does.
        """
        async with self._database.read() as sql:
            rows = await sql.fetch_all(f"SELECT {COLUMNS} FROM performance")
        # Not inside the transaction that writes: locks on a slow disk would hold up the other instances.
        abandoned = await on_disk_thread(table.abandoned_rows, rows, claims)
        async with self._database.write() as sql:
            rows = await sql.fetch_all(f"SELECT {COLUMNS} FROM performance")
            await table.update_rows(sql, table.planned_changes(rows, plan, abandoned, self._now()))
        reach("plan applied")

    async def import_rows(self, rows: Iterable[PerformanceRow]) -> None:
        """Enter rows of published folders, all or none.

        A completed one overrules what the ledger had, unless it is completed or forced there; any other is
        only entered if unknown.
        """
        async with self._database.write() as sql:
            await table.import_rows(sql, rows)


@asynccontextmanager
async def opened(manifest_path: Path, *, create: bool = False) -> AsyncIterator[tuple[Ledger, Claims]]:
    """Open the ledger beside a manifest, and its claims; only to read them, unless `create`."""
    path = ledger_path(manifest_path)
    async with Ledger.open(path, create=create, read_only=not create) as ledger:
        claims = await on_disk_thread(partial(Claims, lock_path(path), read_only=not create))
        try:
            yield ledger, claims
        finally:
            with anyio.CancelScope(shield=True):
                await on_disk_thread(claims.close)
