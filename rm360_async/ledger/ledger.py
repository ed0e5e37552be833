"""Stages, sources and attempts of the performances: one method, one transaction.

Every change of a stage is checked against `lifecycle.MOVES` inside its transaction. The methods that work on
a performance in hand (`begin_attempt`, `move`, `completed`, `end_attempt`) are for the holder of its claim;
the stages of IN_HAND in a row that nobody claims mean `pending` (`rows(claims=...)` reads them so).
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio.to_thread

from rm360_async.config import Settings
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Performance
from rm360_async.domain.record import Record, SourceFile
from rm360_async.domain.stage import IN_HAND, Stage, check_move
from rm360_async.domain.state import PerformanceRow, PlannedState
from rm360_async.ledger.claims import Claims
from rm360_async.ledger.database import Statements, connected
from rm360_async.ledger.rows import (
    COLUMNS,
    as_claimed,
    attempt_of,
    enter_rows,
    find_row,
    number_of,
    row_of,
    row_of_record,
    rows_of,
    sources_of,
    standing_row,
    stands_already,
    store_rows,
    store_sources,
    totals_of,
)
from rm360_async.ledger.runs import Notes
from rm360_async.ledger.schema import create as create_file
from rm360_async.ledger.schema import ledger_path, lock_path
from rm360_async.ledger.values import Attempt, Totals
from rm360_async.system.fault_points import reach

_FAILURES = (Stage.FAILED.value, Stage.DOWNLOAD_FAILED.value)


class Ledger(Notes):
    """The ledger of one manifest; safe with several instances on the same file, and with readers."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls, path: Path, *, create: bool = True, now: Callable[[], float] = time.time
    ) -> AsyncIterator[Ledger]:
        """Open the ledger at `path`, made first if there is none and `create`; closed at the end in every case.

        Raises Fault(LEDGER) for a file that is missing, foreign, damaged or of another version,
        Fault(NOT_WRITABLE) or Fault(DISK_FULL) when it cannot be made. Every method raises these too.
        """
        if await anyio.Path(path).is_symlink():  # its locks would lie beside the link, where others do not look
            hint = "put the ledger itself there, or set storage.manifest_path to where it is"
            raise Fault(Cause.LEDGER, f"the ledger {path} is a symbolic link", hint)
        if create:
            await anyio.to_thread.run_sync(create_file, path)
            reach("ledger made")
        elif not await anyio.Path(path).exists():
            raise Fault(Cause.LEDGER, f"there is no ledger at {path} yet", "`rm360 run` makes it")
        async with connected(path) as connection:
            yield cls(connection, now)

    async def add(self, performances: Iterable[Performance]) -> None:
        """Enter performances as pending; those that the ledger knows stay as they are."""
        now = self._now()
        values = [(p.subject, p.name, Stage.PENDING.value, now) for p in performances]
        async with self._connection.writing() as sql:
            query = "INSERT INTO performance (subject, name, stage, updated) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
            await sql.each(query, values)
        reach("performances added")

    async def numbers(self) -> dict[Performance, int]:
        """Return the row number of each performance, which is its number among the claims; it never changes."""
        async with self._connection.reading() as sql:
            rows = await sql.all("SELECT subject, name, id FROM performance")
        return {Performance(subject, name): number for subject, name, number in rows}

    async def rows(
        self, selection: Collection[Performance] | None = None, *, claims: Claims | None = None
    ) -> list[PerformanceRow]:
        """Return the rows (of the selection) in the field's order.

        With `claims`, a row in hand that no live process has claimed is returned as pending.
        """
        async with self._connection.reading() as sql:
            found = await sql.all(f"SELECT {COLUMNS} FROM performance")
            sources = await sql.all("SELECT performance, path, size, md5, modified FROM source ORDER BY place")
        # In a thread, since thousands of rows would keep the event loop for a tenth of a second.
        return await anyio.to_thread.run_sync(rows_of, found, sources, selection, claims)

    async def row(self, performance: Performance) -> PerformanceRow:
        """Return the row of one performance as it is stored; Fault(LEDGER) when there is none."""
        async with self._connection.reading() as sql:
            number, row = await find_row(sql, performance)
            return replace(row, sources=await sources_of(sql, number))

    async def move(
        self,
        performance: Performance,
        stage: Stage,
        *,
        cause: Cause | None = None,
        reason: str = "",
        wait_until: float | None = None,
        charge: bool = False,
        seconds: Mapping[str, float] | None = None,
        fetched: int = 0,
    ) -> None:
        """Put a performance into a stage; `charge` adds one to its tries.

        Leaving the stages in hand ends the open attempt with that outcome, its seconds per step and the bytes
        it fetched. A completed one that is put back (its folder is gone) loses its counts. Raises IllegalMove.
        """
        async with self._connection.writing() as sql:
            number, row = await find_row(sql, performance)
            check_move(row.stage, stage)
            word = cause.word if cause else None
            values = (stage.value, word, reason, wait_until, int(charge), self._now(), number)
            query = (
                "UPDATE performance SET stage=?, cause=?, reason=?, wait_until=?, tries=tries+?, updated=? WHERE id=?"
            )
            await sql.run(query, *values)
            if row.stage is Stage.COMPLETED and stage is not Stage.COMPLETED and not row.forced:
                await sql.run(
                    "UPDATE performance SET cameras_extracted=0, frames=0, bytes=0, verdict='' WHERE id=?", number
                )
            if stage not in IN_HAND:
                await self._close_attempt(sql, number, stage.value, word, reason, seconds, fetched)
        reach("stage recorded")

    async def stand(self, standings: Mapping[Performance, PlannedState], claims: Claims | None = None) -> None:
        """Put performances where they truly stand at the start of a run, in one transaction.

        Each goes back to pending and from there to its standing, so an ended one that is to be done again has
        all its tries. Rows that stand there already, and those that a live process has in hand, stay as they are.
        A standing of completed brings no counts; `adopt` does.
        """
        async with self._connection.writing() as sql:
            found = await sql.all(f"SELECT {COLUMNS} FROM performance")
            changed = {}
            for number, row in ((values[0], row_of(values, ())) for values in found):
                standing = standings.get(row.performance)
                if standing is None or stands_already(row, standing):
                    continue
                if row.stage not in IN_HAND or as_claimed(number, row, claims).stage is Stage.PENDING:
                    changed[number] = standing_row(row, standing, self._now())
            await store_rows(sql, changed)
        reach("plan applied")

    async def completed(
        self,
        performance: Performance,
        record: Record,
        *,
        seconds: Mapping[str, float] | None = None,
        fetched: int = 0,
    ) -> None:
        """Note a published performance with what its record counts; ends the open attempt."""
        async with self._connection.writing() as sql:
            number, row = await find_row(sql, performance)
            check_move(row.stage, Stage.COMPLETED)
            await store_rows(sql, {number: row_of_record(performance, record, self._now())})
            await self._close_attempt(sql, number, Stage.COMPLETED.value, None, "", seconds, fetched)
        reach("completion recorded")

    async def listed(self, listing: Mapping[Performance, Sequence[SourceFile]]) -> None:
        """Note the remote's files of performances, as now listed, in place of the ones known; all must be known."""
        async with self._connection.writing() as sql:
            await store_sources(sql, {await number_of(sql, p): sources for p, sources in listing.items()})
        reach("sources recorded")

    async def retry(self, selection: Collection[Performance] | None = None) -> list[Performance]:
        """Put failed performances (of the selection) back to pending with no tries; return which."""
        async with self._connection.writing() as sql:
            found = await sql.all("SELECT id, subject, name FROM performance WHERE stage IN (?, ?)", *_FAILURES)
            kept = [(n, Performance(s, name)) for n, s, name in found]
            kept = [(n, p) for n, p in kept if selection is None or p in selection]
            await self._back_to_pending(sql, [number for number, _ in kept])
        return sorted((p for _, p in kept), key=lambda p: p.sort_key)

    async def force(self, performances: Iterable[Performance]) -> None:
        """Mark performances to be extracted again though they are published; ended ones become pending.

        One that waits goes on waiting, one that is in hand stays there; its counts stay, as its folder does.
        """
        async with self._connection.writing() as sql:
            found = [await find_row(sql, performance) for performance in performances]
            await sql.each("UPDATE performance SET forced=1 WHERE id=?", [(number,) for number, _ in found])
            ended = (Stage.COMPLETED, Stage.FAILED, Stage.DOWNLOAD_FAILED)
            await self._back_to_pending(sql, [number for number, row in found if row.stage in ended])

    async def unforce(self, performances: Iterable[Performance]) -> None:
        """Take the mark of `force` away; the stage stays."""
        values = [(p.subject, p.name) for p in performances]
        async with self._connection.writing() as sql:
            await sql.each("UPDATE performance SET forced=0 WHERE subject=? AND name=?", values)

    async def begin_attempt(self, performance: Performance, run: int | None = None) -> PerformanceRow:
        """Begin an attempt; return the row as it stands now. For the holder of the claim.

        What a crash left is put right: an open attempt becomes "crashed", a row in hand becomes pending.
        """
        async with self._connection.writing() as sql:
            number, row = await find_row(sql, performance)
            await self._close_attempt(sql, number, "crashed", None, "", None, 0)
            if row.stage in IN_HAND:
                row = await self._let_go(sql, number, row)
            await sql.run("INSERT INTO attempt (performance, run, started) VALUES (?, ?, ?)", number, run, self._now())
            row = replace(row, sources=await sources_of(sql, number))
        reach("attempt begun")
        return row

    async def end_attempt(
        self, performance: Performance, *, seconds: Mapping[str, float] | None = None, fetched: int = 0
    ) -> None:
        """End the open attempt, if any, as "interrupted": we were asked to stop; a row in hand becomes pending."""
        async with self._connection.writing() as sql:
            number, row = await find_row(sql, performance)
            await self._close_attempt(sql, number, "interrupted", None, "", seconds, fetched)
            if row.stage in IN_HAND:
                await self._let_go(sql, number, row)

    async def attempts(self, performance: Performance | None = None) -> list[Attempt]:
        """Return the attempts (at one performance), the oldest first."""
        columns = "subject, name, started, ended, outcome, attempt.cause, attempt.reason, seconds, fetched"
        table = "attempt JOIN performance ON performance.id = attempt.performance"
        wanted = (performance.subject, performance.name) if performance else ()
        where = "WHERE subject = ? AND name = ?" if performance else ""
        async with self._connection.reading() as sql:
            found = await sql.all(f"SELECT {columns} FROM {table} {where} ORDER BY attempt.id", *wanted)
        return [attempt_of(values) for values in found]

    async def totals(self) -> Totals:
        """Return the counts of the stages as stored, and the bytes published and fetched."""
        async with self._connection.reading() as sql:
            return await totals_of(sql)

    async def overview(self, claims: Claims) -> tuple[Totals, list[PerformanceRow]]:
        """Return the totals and, of the same moment, the rows that are neither pending nor completed, in order.

        A row in hand that no live process has claimed is counted as pending, and not among them. The rows of
        what is done, which are nearly all in the end, are not read.
        """
        async with self._connection.reading() as sql:
            totals = await totals_of(sql)
            query = f"SELECT {COLUMNS} FROM performance WHERE stage NOT IN (?, ?)"
            found = await sql.all(query, Stage.PENDING.value, Stage.COMPLETED.value)
        rows = rows_of(found, (), None, claims)
        stages = Counter({Stage.PENDING: totals.stages[Stage.PENDING], Stage.COMPLETED: totals.stages[Stage.COMPLETED]})
        stages.update(row.stage for row in rows)
        return replace(totals, stages=stages), [row for row in rows if row.stage is not Stage.PENDING]

    async def adopt(self, rows: Iterable[PerformanceRow], *, remark: tuple[str, str] | None = None) -> None:
        """Enter rows that were found outside (published folders, an earlier manifest), all or none.

        A completed one overrules what the ledger had, unless it is completed or forced there; any other is
        only entered when unknown. `remark` (key, value) is kept in the same transaction.
        """
        async with self._connection.writing() as sql:
            await enter_rows(sql, rows)
            if remark is not None:
                await sql.run("INSERT OR REPLACE INTO meta VALUES (?, ?)", *remark)

    async def _let_go(self, sql: Statements, number: int, row: PerformanceRow) -> PerformanceRow:
        await sql.run("UPDATE performance SET stage=?, updated=? WHERE id=?", Stage.PENDING.value, self._now(), number)
        return replace(row, stage=Stage.PENDING, updated=self._now())

    async def _back_to_pending(self, sql: Statements, numbers: Iterable[int]) -> None:
        query = "UPDATE performance SET stage=?, tries=0, cause=NULL, reason='', wait_until=NULL, updated=? WHERE id=?"
        now = self._now()
        await sql.each(query, [(Stage.PENDING.value, now, number) for number in numbers])

    async def _close_attempt(
        self,
        sql: Statements,
        number: int,
        outcome: str,
        cause: str | None,
        reason: str,
        seconds: Mapping[str, float] | None,
        fetched: int,
    ) -> None:
        query = (
            "UPDATE attempt SET ended=?, outcome=?, cause=?, reason=?, seconds=?, fetched=? "
            "WHERE performance=? AND ended IS NULL"
        )
        steps = json.dumps(dict(seconds or {}))
        await sql.run(query, self._now(), outcome, cause, reason, steps, fetched, number)


@asynccontextmanager
async def opened(settings: Settings, *, create: bool = False) -> AsyncIterator[tuple[Ledger, Claims]]:
    """Open the ledger beside the manifest, and its claims (only to look at them, unless `create`)."""
    path = ledger_path(settings.storage.manifest_path)
    async with Ledger.open(path, create=create) as ledger:
        with Claims(lock_path(path), look_only=not create) as claims:
            yield ledger, claims
