"""Rows of the ledger's tables to values and back; every function works inside a transaction of the caller."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Performance
from rm360_async.domain.record import Record, SourceFile
from rm360_async.domain.stage import ENDED, IN_HAND, Stage, check_move
from rm360_async.domain.state import PerformanceRow, PlannedState
from rm360_async.ledger.claims import Claims
from rm360_async.ledger.database import Statements
from rm360_async.ledger.values import Attempt, Totals, left_out_text

COLUMNS = (
    "id, subject, name, stage, tries, cause, reason, wait_until, forced, cameras_extracted, frames, bytes, updated, "
    "verdict"
)


def row_of_record(performance: Performance, record: Record, otherwise: float) -> PerformanceRow:
    """Return the completed row that a published folder's record describes; `otherwise` if it has no time."""
    try:
        published = datetime.fromisoformat(record.published.replace("Z", "+00:00")).timestamp()
    except ValueError:
        published = otherwise
    return PerformanceRow(
        performance,
        Stage.COMPLETED,
        reason=left_out_text(record.left_out),
        cameras_extracted=record.cameras_extracted,
        frames=record.frames,
        bytes=record.bytes,
        updated=published,
        sources=record.sources,
        verdict=record.verdict,
    )


async def find_row(sql: Statements, performance: Performance) -> tuple[int, PerformanceRow]:
    """Return the number and the row (without its sources) of a performance; Fault(LEDGER) when there is none."""
    query = f"SELECT {COLUMNS} FROM performance WHERE subject = ? AND name = ?"
    values = await sql.one(query, performance.subject, performance.name)
    if values is None:
        raise _unknown(performance)
    return values[0], row_of(values, ())


async def number_of(sql: Statements, performance: Performance) -> int:
    """Return the number of a performance; Fault(LEDGER) when there is none."""
    query = "SELECT id FROM performance WHERE subject = ? AND name = ?"
    values = await sql.one(query, performance.subject, performance.name)
    if values is None:
        raise _unknown(performance)
    return int(values[0])


def _unknown(performance: Performance) -> Fault:
    return Fault(Cause.LEDGER, f"{performance} is not in the ledger", "`rm360 doctor` compares it with the folders")


async def totals_of(sql: Statements) -> Totals:
    """Return the counts of the stages as stored, and the bytes published and fetched."""
    found = await sql.all("SELECT stage, count(*), sum(bytes) FROM performance GROUP BY stage")
    fetched = await sql.one("SELECT coalesce(sum(fetched), 0) FROM attempt")
    stages = {stage: 0 for stage in Stage} | {Stage(word): count for word, count, _ in found}
    return Totals(stages, sum(row[2] for row in found), fetched[0] if fetched else 0)


async def sources_of(sql: Statements, number: int) -> tuple[SourceFile, ...]:
    """Return the source files of the performance with this number, as last listed."""
    query = "SELECT path, size, md5, modified FROM source WHERE performance = ? ORDER BY place"
    return tuple([SourceFile(*values) for values in await sql.all(query, number)])


def row_of(values: Sequence[Any], sources: Sequence[SourceFile]) -> PerformanceRow:
    """Return the row that the values of COLUMNS hold."""
    _, subject, name, stage, tries, cause, reason, wait_until, forced, *counts, updated, verdict = values
    cameras, frames, size = counts
    return PerformanceRow(
        Performance(subject, name),
        Stage(stage),
        tries,
        None if cause is None else Cause.from_word(cause),
        reason,
        wait_until,
        bool(forced),
        cameras,
        frames,
        size,
        updated,
        tuple(sources),
        verdict,
    )


def rows_of(
    found: Sequence[Sequence[Any]],
    sources: Sequence[Sequence[Any]],
    selection: Collection[Performance] | None,
    claims: Claims | None,
) -> list[PerformanceRow]:
    """Return the rows (of the selection), sorted, from the values of both tables."""
    listed: dict[int, list[SourceFile]] = {}
    for number, *values in sources:
        listed.setdefault(number, []).append(SourceFile(*values))
    rows = [(values[0], row_of(values, listed.get(values[0], ()))) for values in found]
    wanted = None if selection is None else set(selection)
    kept = [as_claimed(n, row, claims) for n, row in rows if wanted is None or row.performance in wanted]
    return sorted(kept, key=lambda row: row.performance.sort_key)


def as_claimed(number: int, row: PerformanceRow, claims: Claims | None) -> PerformanceRow:
    """Return the row, as pending when it is in hand and no live process has claimed it."""
    if claims is None or row.stage not in IN_HAND or claims.held_by_anyone(number):
        return row
    return replace(row, stage=Stage.PENDING)


def attempt_of(values: Sequence[Any]) -> Attempt:
    """Return the attempt that the values hold."""
    subject, name, started, ended, outcome, cause, reason, seconds, fetched = values
    word = None if cause is None else Cause.from_word(cause)
    return Attempt(Performance(subject, name), started, ended, outcome, word, reason, json.loads(seconds), fetched)


async def enter_rows(sql: Statements, rows: Iterable[PerformanceRow]) -> None:
    """Write rows found outside, unless what the ledger has goes first; see `Ledger.adopt`."""
    found = await sql.all("SELECT subject, name, stage, forced FROM performance")
    known = {Performance(subject, name): (stage, forced) for subject, name, stage, forced in found}
    kept = [row for row in rows if _overrules(row, known.get(row.performance))]
    new = [(r.performance.subject, r.performance.name, Stage.PENDING.value, r.updated) for r in kept]
    query = "INSERT INTO performance (subject, name, stage, updated) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
    await sql.each(query, new)
    numbers = {Performance(s, n): i for s, n, i in await sql.all("SELECT subject, name, id FROM performance")}
    await store_rows(sql, {numbers[row.performance]: row for row in kept})


def _overrules(row: PerformanceRow, known: tuple[str, int] | None) -> bool:
    if known is None:
        return True
    stage, forced = known
    return row.stage is Stage.COMPLETED and stage != Stage.COMPLETED.value and not forced


async def store_rows(sql: Statements, rows: Mapping[int, PerformanceRow]) -> None:
    """Write whole rows by number, and the sources of those that have any."""
    query = (
        "UPDATE performance SET stage=?, tries=?, cause=?, reason=?, wait_until=?, forced=?, "
        "cameras_extracted=?, frames=?, bytes=?, updated=?, verdict=? WHERE id=?"
    )
    await sql.each(query, [(*_values(row), number) for number, row in rows.items()])
    await store_sources(sql, {number: row.sources for number, row in rows.items() if row.sources})


def _values(row: PerformanceRow) -> tuple[Any, ...]:
    word = row.cause.word if row.cause else None
    state = (row.stage.value, row.tries, word, row.reason, row.wait_until, int(row.forced))
    return (*state, row.cameras_extracted, row.frames, row.bytes, row.updated, row.verdict)


async def store_sources(sql: Statements, sources: Mapping[int, Sequence[SourceFile]]) -> None:
    """Write the source files of performances (by number) in place of those known."""
    await sql.each("DELETE FROM source WHERE performance = ?", [(number,) for number in sources])
    values = [
        (number, place, source.path, source.size, source.md5, source.modified)
        for number, files in sources.items()
        for place, source in enumerate(files)
    ]
    await sql.each("INSERT INTO source VALUES (?, ?, ?, ?, ?, ?)", values)


def standing_row(row: PerformanceRow, standing: PlannedState, now: float) -> PerformanceRow:
    """Return the row put back to pending and from there to its standing; see `Ledger.stand`."""
    check_move(row.stage, Stage.PENDING)
    check_move(Stage.PENDING, standing.stage)
    gone = row.stage is Stage.COMPLETED and not row.forced
    kept = replace(row, cameras_extracted=0, frames=0, bytes=0, verdict="") if gone else row
    return replace(
        kept,
        stage=standing.stage,
        tries=0 if row.stage in ENDED else row.tries,
        cause=standing.cause,
        reason=standing.reason,
        wait_until=standing.wait_until,
        updated=now,
    )


def stands_already(row: PerformanceRow, standing: PlannedState) -> bool:
    """Tell whether the row needs no change; a completed or pending one keeps the reason it has."""
    if row.stage is standing.stage and row.stage in (Stage.COMPLETED, Stage.PENDING):
        return True
    return standing == PlannedState(row.stage, row.cause, row.reason, row.wait_until)
