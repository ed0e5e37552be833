"""SQL of performances and their source files; what takes `sql` works inside a transaction of the caller."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Performance
from rm360_async.domain.record import CompletenessLevel, Record, SourceFile
from rm360_async.domain.stage import CLAIMED_STAGES, ENDED, Stage, check_move
from rm360_async.domain.state import PerformanceRow, PlannedState
from rm360_async.ledger.claims import Claims
from rm360_async.ledger.database import Transaction
from rm360_async.ledger.values import Totals, left_out_text

FETCHED_BEFORE_KEY = "fetched_before"
"""Key of the ledger's metadata: the bytes that attempts which are not kept any more have fetched."""
COLUMNS = (
    "id, subject, name, stage, tries, cause, reason, wait_until, forced, cameras_extracted, frames, bytes, updated, "
    "verdict, fps, audio_seconds"
)

_STAGE_COLUMN = 3


def row_from_record(performance: Performance, record: Record, default_updated: float) -> PerformanceRow:
    """Return the completed row that a published folder's record describes.

    `default_updated` (unix seconds) is used if the record holds no time of publication that can be read.
    """
    try:
        updated = datetime.fromisoformat(record.published.replace("Z", "+00:00")).timestamp()
    except ValueError:
        updated = default_updated
    return PerformanceRow(
        performance,
        Stage.COMPLETED,
        reason=left_out_text(record.left_out),
        cameras_extracted=record.cameras_extracted,
        frames=record.frames,
        bytes=record.bytes,
        updated=updated,
        sources=record.sources,
        verdict=record.verdict,
        fps=record.fps,
        audio_seconds=record.audio_seconds,
    )


def row_from_values(values: Sequence[Any], sources: Sequence[SourceFile] = ()) -> PerformanceRow:
    """Return the row that the values of COLUMNS hold."""
    _, subject, name, stage, tries, code, reason, wait_until, forced, *facts = values
    cameras, frames, size, updated, verdict, fps, audio_seconds = facts
    cause = None if code is None else Cause.from_code(code)
    state = (Stage(stage), tries, cause, reason, wait_until, bool(forced))
    counts = (cameras, frames, size, updated, tuple(sources), verdict)
    return PerformanceRow(Performance(subject, name), *state, *counts, fps, audio_seconds)


def rows_from_values(
    rows: Iterable[Sequence[Any]],
    sources: Iterable[Sequence[Any]],
    selection: Collection[Performance] | None,
    claims: Claims | None,
) -> list[PerformanceRow]:
    """Return the rows (of the selection), sorted, from the values of both tables."""
    sources_by_number: dict[int, list[SourceFile]] = {}
    for number, *source in sources:
        sources_by_number.setdefault(number, []).append(SourceFile(*source))
    selected = None if selection is None else set(selection)
    decoded = [(row[0], row_from_values(row, sources_by_number.get(row[0], ()))) for row in rows]
    kept = [(number, row) for number, row in decoded if selected is None or row.performance in selected]
    return sorted(
        (pending_if_unclaimed(number, row, claims) for number, row in kept), key=lambda row: row.performance.sort_key
    )


def pending_if_unclaimed(number: int, row: PerformanceRow, claims: Claims | None) -> PerformanceRow:
    """Return the row, as pending if its stage needs a live process and no process has claimed it."""
    if claims is None or row.stage not in CLAIMED_STAGES or claims.is_claimed(number):
        return row
    return replace(row, stage=Stage.PENDING)


async def select_row(sql: Transaction, performance: Performance) -> tuple[int, PerformanceRow]:
    """Return the number and the row (without its sources) of a performance; Fault(LEDGER) if there is none."""
    query = f"SELECT {COLUMNS} FROM performance WHERE subject = ? AND name = ?"
    values = await sql.fetch_one(query, performance.subject, performance.name)
    if values is None:
        hint = "run `rm360 doctor` to compare the ledger with the folders"
        raise Fault(Cause.LEDGER, f"{performance} is not in the ledger", hint)
    return values[0], row_from_values(values)


async def select_sources(sql: Transaction, number: int) -> tuple[SourceFile, ...]:
    """Return the source files of the performance with this number, as last listed."""
    query = "SELECT path, size, md5, modified FROM source WHERE performance = ? ORDER BY place"
    return tuple([SourceFile(*values) for values in await sql.fetch_all(query, number)])


async def select_totals(sql: Transaction) -> Totals:
    """Return the number of performances in each stage as stored, and the bytes published and fetched."""
    query = "SELECT stage, count(*), sum(bytes), sum(verdict LIKE ?) FROM performance GROUP BY stage"
    counts = await sql.fetch_all(query, f"{CompletenessLevel.DAMAGED.value}%")
    query = "SELECT coalesce(sum(fetched), 0) + coalesce((SELECT value FROM meta WHERE key = ?), 0) FROM attempt"
    fetched = await sql.fetch_one(query, FETCHED_BEFORE_KEY)
    stages = {stage: 0 for stage in Stage} | {Stage(stage): count for stage, count, *_ in counts}
    damaged = sum(count for stage, _, _, count in counts if stage == Stage.COMPLETED.value)
    return Totals(stages, sum(size for _, _, size, _ in counts), fetched[0] if fetched else 0, damaged)


async def select_overview(sql: Transaction, claims: Claims) -> tuple[Totals, list[PerformanceRow]]:
    """Return the totals, and the sorted rows that are neither pending nor completed; see `Ledger.overview`."""
    totals = await select_totals(sql)
    query = f"SELECT {COLUMNS} FROM performance WHERE stage NOT IN (?, ?)"
    values = await sql.fetch_all(query, Stage.PENDING.value, Stage.COMPLETED.value)
    rows = rows_from_values(values, (), None, claims)
    stages = Counter({stage: totals.stages[stage] for stage in (Stage.PENDING, Stage.COMPLETED)})
    stages.update(row.stage for row in rows)
    return replace(totals, stages=stages), [row for row in rows if row.stage is not Stage.PENDING]


async def insert_pending(sql: Transaction, performances: Iterable[tuple[Performance, float]]) -> None:
    """Insert performances as pending, each with the time of its last change; known ones stay as they are."""
    values = [(each.subject, each.name, Stage.PENDING.value, updated) for each, updated in performances]
    query = "INSERT INTO performance (subject, name, stage, updated) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
    await sql.execute_many(query, values)


async def reset_to_pending(sql: Transaction, numbers: Iterable[int], now: float) -> None:
    """Put performances back to pending, with all their tries and without a reason."""
    query = "UPDATE performance SET stage=?, tries=0, cause=NULL, reason='', wait_until=NULL, updated=? WHERE id=?"
    await sql.execute_many(query, [(Stage.PENDING.value, now, number) for number in numbers])


async def import_rows(sql: Transaction, rows: Iterable[PerformanceRow]) -> None:
    """Store rows of published folders, unless what the ledger has takes precedence; see `Ledger.import_rows`."""
    stored = await sql.fetch_all("SELECT subject, name, stage, forced FROM performance")
    known = {Performance(subject, name): (stage, forced) for subject, name, stage, forced in stored}
    accepted = [row for row in rows if _takes_precedence(row, known.get(row.performance))]
    await insert_pending(sql, [(row.performance, row.updated) for row in accepted])
    numbers = {
        Performance(s, n): number for s, n, number in await sql.fetch_all("SELECT subject, name, id FROM performance")
    }
    await update_rows(sql, {numbers[row.performance]: row for row in accepted})


def _takes_precedence(row: PerformanceRow, known: tuple[str, int] | None) -> bool:
    if known is None:
        return True
    stage, forced = known
    return row.stage is Stage.COMPLETED and stage != Stage.COMPLETED.value and not forced


async def update_rows(sql: Transaction, rows: Mapping[int, PerformanceRow]) -> None:
    """Store whole rows by number, and the sources of those that have any."""
    query = (
        "UPDATE performance SET stage=?, tries=?, cause=?, reason=?, wait_until=?, forced=?, "
        "cameras_extracted=?, frames=?, bytes=?, updated=?, verdict=?, fps=?, audio_seconds=? WHERE id=?"
    )
    await sql.execute_many(query, [(*_values(row), number) for number, row in rows.items()])
    await replace_sources(sql, {number: row.sources for number, row in rows.items() if row.sources})


def _values(row: PerformanceRow) -> tuple[Any, ...]:
    code = row.cause.code if row.cause else None
    state = (row.stage.value, row.tries, code, row.reason, row.wait_until, int(row.forced))
    return (*state, row.cameras_extracted, row.frames, row.bytes, row.updated, row.verdict, row.fps, row.audio_seconds)


async def replace_sources(sql: Transaction, sources: Mapping[int, Sequence[SourceFile]]) -> None:
    """Store the source files of performances (by number) in place of the known ones."""
    if not sources:
        return
    await sql.execute_many("DELETE FROM source WHERE performance = ?", [(number,) for number in sources])
    values = [
        (number, position, source.path, source.size, source.md5, source.modified)
        for number, files in sources.items()
        for position, source in enumerate(files)
    ]
    await sql.execute_many("INSERT INTO source VALUES (?, ?, ?, ?, ?, ?)", values)


def abandoned_rows(rows: Iterable[Sequence[Any]], claims: Claims | None) -> set[int]:
    """Return the numbers of the rows whose stage needs a live process, and no process has claimed them.

    There are none without `claims`. Asks for locks: to be called on a disk thread.
    """
    needing = [values[0] for values in rows if Stage(values[_STAGE_COLUMN]) in CLAIMED_STAGES]
    return set() if claims is None else set(needing) - claims.claimed_among(needing)


def planned_changes(
    rows: Iterable[Sequence[Any]], plan: Mapping[Performance, PlannedState], abandoned: Collection[int], now: float
) -> dict[int, PerformanceRow]:
    """Return the rows that a plan changes, by number; see `Ledger.apply_plan` and `abandoned_rows`."""
    changes = {}
    for number, row in ((values[0], row_from_values(values)) for values in rows):
        state = plan.get(row.performance)
        if state is None or _is_in_state(row, state):
            continue
        if row.stage not in CLAIMED_STAGES or number in abandoned:
            changes[number] = _row_in_state(row, state, now)
    return changes


def _is_in_state(row: PerformanceRow, state: PlannedState) -> bool:
    """Return True if the row needs no change; a completed or pending one keeps the reason it has."""
    if row.stage is state.stage and row.stage in (Stage.COMPLETED, Stage.PENDING):
        return True
    return state == PlannedState(row.stage, row.cause, row.reason, row.wait_until)


def _row_in_state(row: PerformanceRow, state: PlannedState, now: float) -> PerformanceRow:
    """Return the row put back to pending and from there to its planned state."""
    check_move(row.stage, Stage.PENDING)
    check_move(Stage.PENDING, state.stage)
    if row.stage is Stage.COMPLETED and not row.forced:  # its folder is gone
        row = row.without_folder()
    return replace(
        row,
        stage=state.stage,
        tries=0 if row.stage in ENDED else row.tries,
        cause=state.cause,
        reason=state.reason,
        wait_until=state.wait_until,
        updated=now,
    )
