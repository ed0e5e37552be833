"""The attempts at performances: when each began and ended, how, and what it took."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rm360_async.domain.errors import Cause
from rm360_async.domain.names import Performance
from rm360_async.domain.stage import CLAIMED_STAGES, Stage
from rm360_async.domain.state import PerformanceRow
from rm360_async.ledger.database import Database, Transaction
from rm360_async.ledger.rows import FETCHED_BEFORE_KEY, select_row, select_sources, update_rows
from rm360_async.ledger.values import Attempt
from rm360_async.system.fault_points import reach

CRASHED = "crashed"
"""Outcome of an attempt whose process was killed."""
MAX_ATTEMPTS = 20
"""Ended attempts that are kept of each performance. The report's plot of downloads and the learned rate read them."""


class Attempts:
    """The attempts in one ledger; `ledger.attempts`. What changes rows is for the holder of the claim."""

    def __init__(self, database: Database, now: Callable[[], float]) -> None:
        self._database, self._now = database, now

    async def begin(self, performance: Performance, run: int | None = None) -> PerformanceRow:
        """Begin an attempt; return the row as it is now.

        What a crash left is repaired: an open attempt becomes "crashed", a row in one of CLAIMED_STAGES pending.
        """
        async with self._database.write() as sql:
            number, row = await self._end(sql, performance, CRASHED)
            await _remove_oldest(sql, number)
            query = "INSERT INTO attempt (performance, run, started) VALUES (?, ?, ?)"
            await sql.execute(query, number, run, self._now())
            row = replace(row, sources=await select_sources(sql, number))
        reach("attempt begun")
        return row

    async def interrupt(
        self, performance: Performance, seconds: Mapping[str, float] | None = None, fetched_bytes: int = 0
    ) -> None:
        """End the open attempt, if any, as "interrupted": the run was asked to stop; its row becomes pending."""
        async with self._database.write() as sql:
            await self._end(sql, performance, "interrupted", seconds, fetched_bytes)

    async def add_unrecorded(self, performance: Performance, spooled_bytes: int) -> None:
        """Add to the last attempt what it had downloaded and not recorded, because it was killed or stopped.

        `spooled_bytes` are those of the performance's files there before a new attempt downloads any.
        """
        async with self._database.write() as sql:
            number, _ = await select_row(sql, performance)
            query = "SELECT id, outcome, fetched FROM attempt WHERE performance = ? AND ended IS NOT NULL ORDER BY id"
            since = await sql.fetch_all(query, number)
            published = [place for place, (_, outcome, _) in enumerate(since) if outcome == Stage.COMPLETED.value]
            since = since[published[-1] + 1 :] if published else since
            unrecorded = spooled_bytes - sum(fetched for *_, fetched in since)
            if since and unrecorded > 0:
                await sql.execute("UPDATE attempt SET fetched = fetched + ? WHERE id = ?", unrecorded, since[-1][0])

    async def all(self, performance: Performance | None = None) -> list[Attempt]:
        """Return the attempts (at one performance), the oldest first."""
        columns = "subject, name, started, ended, outcome, attempt.cause, attempt.reason, seconds, fetched"
        table = "attempt JOIN performance ON performance.id = attempt.performance"
        where = "WHERE subject = ? AND name = ?" if performance else ""
        values = (performance.subject, performance.name) if performance else ()
        async with self._database.read() as sql:
            rows = await sql.fetch_all(f"SELECT {columns} FROM {table} {where} ORDER BY attempt.id", *values)
        return [_attempt_from_values(row) for row in rows]

    async def _end(
        self,
        sql: Transaction,
        performance: Performance,
        outcome: str,
        seconds: Mapping[str, float] | None = None,
        fetched_bytes: int = 0,
    ) -> tuple[int, PerformanceRow]:
        """End the open attempt, if any; return number and row, put back to pending from one of CLAIMED_STAGES."""
        number, row = await select_row(sql, performance)
        await close_attempt(sql, number, outcome, self._now(), seconds=seconds, fetched_bytes=fetched_bytes)
        if row.stage in CLAIMED_STAGES:
            row = replace(row, stage=Stage.PENDING, updated=self._now())
            await update_rows(sql, {number: row})
        return number, row


async def close_attempt(
    sql: Transaction,
    number: int,
    outcome: str,
    now: float,
    cause: Cause | None = None,
    reason: str = "",
    seconds: Mapping[str, float] | None = None,
    fetched_bytes: int = 0,
) -> None:
    """End the open attempt, if any, at the performance with this row number, inside the caller's transaction.

    What `record_fetched` has recorded of its bytes is kept, if it is more.
    """
    query = (
        "UPDATE attempt SET ended=?, outcome=?, cause=?, reason=?, seconds=?, fetched=max(fetched, ?) "
        "WHERE performance=? AND ended IS NULL"
    )
    steps = json.dumps(dict(seconds or {}))
    await sql.execute(query, now, outcome, cause.code if cause else None, reason, steps, fetched_bytes, number)


async def record_fetched(sql: Transaction, fetched: Mapping[str, int]) -> None:
    """Record the bytes that open attempts have downloaded so far, by performance as text: a kill loses the rest."""
    query = (
        "UPDATE attempt SET fetched = ? WHERE ended IS NULL AND fetched < ? AND performance = "
        "(SELECT id FROM performance WHERE subject = ? AND name = ?)"
    )
    values = [(size, size, *performance.split("/", 1)) for performance, size in fetched.items() if size]
    await sql.execute_many(query, values)


async def _remove_oldest(sql: Transaction, number: int) -> None:
    """Remove all but the latest attempts at a performance; the bytes that they fetched are kept as a sum."""
    query = "SELECT id, fetched FROM attempt WHERE performance = ? AND ended IS NOT NULL ORDER BY id DESC"
    removed = (await sql.fetch_all(query, number))[MAX_ATTEMPTS:]
    if removed:
        query = "INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value"
        await sql.execute(query, FETCHED_BEFORE_KEY, str(sum(fetched for _, fetched in removed)))
        await sql.execute_many("DELETE FROM attempt WHERE id = ?", [(attempt,) for attempt, _ in removed])


def _attempt_from_values(values: Sequence[Any]) -> Attempt:
    subject, name, started, ended, outcome, code, reason, seconds, fetched_bytes = values
    cause = None if code is None else Cause.from_code(code)
    performance = Performance(subject, name)
    return Attempt(performance, started, ended, outcome, cause, reason, json.loads(seconds), fetched_bytes)
