"""The run's page: a board of subjects and performances, totals, failures with reasons, storage, rates and disks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from rm360_async.domain.errors import Cause
from rm360_async.domain.names import is_performance, is_subject
from rm360_async.system.os_errors import os_errors
from rm360_async.visualization.report.page import HTML_FILE, JSON_FILE, MADE_BY, SCHEMA, read_page_json, write_page_file
from rm360_async.visualization.report.run_data import PerformanceEntry, PerformanceState, RunData
from rm360_async.visualization.report.templates import render
from rm360_async.visualization.report.timeline import download_plot, storage_plot

_REASONS = 25
"""How many reasons of each kind are told."""
_NAMED = 12
_LONGEST = 600
_REST = (PerformanceState.DAMAGED, PerformanceState.WAITING)
_SUBJECTS = 60
"""Rows of a block of the board; blocks lie side by side where there is room."""
_LETTERS = {
    PerformanceState.DAMAGED: "!",
    PerformanceState.FAILED: "\N{MULTIPLICATION SIGN}",
    PerformanceState.WAITING: "w",
    PerformanceState.RUNNING: "r",
    PerformanceState.PENDING: "\N{MIDDLE DOT}",
}
"""What a square says besides its colour; a complete one says how many cameras it has."""


def write_run_page(run: RunData, place: Path) -> dict[str, Any]:
    """Write the run's index.html and report.json to `place`; return the numbers. Fault when they cannot be written."""
    numbers = run_json(run)
    values = {key: numbers[key] for key in ("made_by", "made", "name", "totals", "disks", "running", "rates")}
    done = [(row.updated, row.bytes) for row in run.rows if row.status == "completed" and row.bytes]
    fetched = [(at, size) for at, size, _ in run.fetched if size]
    text = render(
        "index.html",
        columns=_columns(run.rows),
        blocks=_blocks(_board(run.rows)),
        squares=[
            (square, numbers["totals"]["squares"][square.value], _LETTERS.get(square, "60"))
            for square in PerformanceState
        ],
        reasons=_reasons(run.rows),
        storage=str(storage_plot(done)) if done else "",
        fetching=str(download_plot(fetched)) if fetched else "",
        **values,
    )
    write_page_file(place / HTML_FILE, text.encode("utf-8", "replace"))
    write_page_file(place / JSON_FILE, json.dumps(numbers, indent=1, ensure_ascii=False, allow_nan=False).encode())
    return numbers


def run_json(run: RunData) -> dict[str, Any]:
    """Return what report.json says of a run."""
    squares = Counter(row.square for row in run.rows)
    took = sum(seconds for _, _, seconds in run.fetched)
    crossed = sum(size for _, size, _ in run.fetched)
    return {
        "schema": SCHEMA,
        "made_by": MADE_BY,
        "made": datetime.now().astimezone().isoformat(timespec="seconds"),
        "name": run.name,
        "totals": {
            "performances": len(run.rows),
            "subjects": len({row.subject for row in run.rows}),
            "squares": {square.value: squares[square] for square in PerformanceState},
            "bytes_published": sum(row.bytes for row in run.rows if row.status == "completed"),
            "bytes_fetched": crossed,
        },
        "rates": {"seconds_downloading": round(took, 3), "bytes_a_second": round(crossed / took, 1) if took else None},
        "disks": [{"name": disk.name, "free": disk.free, "total": disk.total} for disk in run.disks],
        "running": list(run.running),
        "performances": {f"{row.subject}/{row.name}": _entry(row) for row in run.rows},
    }


def _entry(row: PerformanceEntry) -> dict[str, Any]:
    page = row.page or {}
    panels: Mapping[str, Mapping[str, Any]] = page.get("panels", {})
    return {
        "square": row.square.value,
        "status": row.status,
        "cameras": row.cameras,
        "frames": row.frames,
        "bytes": row.bytes,
        "updated": row.updated,
        "error": row.error,
        "verdict": row.verdict,
        "trouble": row.trouble,
        "page": _link(row) or None,
        "checks": {key: panel.get("state") for key, panel in panels.items()},
    }


def _link(row: PerformanceEntry) -> str:
    """Return the address of a performance's page, below the run's; "" when it has none."""
    safe = is_subject(row.subject) and is_performance(row.name)
    return f"{row.subject}/{row.name}/{HTML_FILE}" if safe and row.page is not None else ""


def _columns(rows: Iterable[PerformanceEntry]) -> list[str]:
    found = {row.column: row.place for row in rows}
    return sorted(found, key=lambda column: found[column])


def _board(rows: Iterable[PerformanceEntry]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Return the squares of each subject by column, as short as they can be: there may be ten thousand."""
    board: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for row in rows:
        square = row.square
        cell = {"kind": square.value[0], "text": _LETTERS.get(square) or str(row.cameras), "link": _link(row)}
        board.setdefault(row.subject, {}).setdefault(row.column, []).append(cell)
    return dict(sorted(board.items()))


def _blocks(board: Mapping[str, Any]) -> list[dict[str, Any]]:
    subjects = list(board)
    parts = [subjects[at : at + _SUBJECTS] for at in range(0, len(subjects), _SUBJECTS)]
    return [{subject: board[subject] for subject in part} for part in parts]


def _reasons(rows: Iterable[PerformanceEntry]) -> list[dict[str, Any]]:
    """Return why performances failed, wait or are damaged: a reason once, with those that have it."""
    groups: dict[PerformanceState, dict[str, list[PerformanceEntry]]] = {
        square: {} for square in (PerformanceState.FAILED, *_REST)
    }
    for row in rows:
        if row.square in groups:
            groups[row.square].setdefault(_why(row), []).append(row)
    found = []
    for square, reasons in groups.items():
        ordered = sorted(reasons.items(), key=lambda item: -len(item[1]))
        found += [_reason(square, why, each) for why, each in ordered[:_REASONS]]
        if rest := [row for _, each in ordered[_REASONS:] for row in each]:
            found.append(_reason(square, "other reasons; report.json has them all", rest))
    return found


def _reason(square: PerformanceState, why: str, rows: list[PerformanceEntry]) -> dict[str, Any]:
    named = [(f"{row.subject}/{row.name}", _link(row)) for row in rows[:_NAMED]]
    return {"square": square.value, "why": why[:_LONGEST], "named": named, "more": max(0, len(rows) - _NAMED)}


def _why(row: PerformanceEntry) -> str:
    if row.square is not PerformanceState.DAMAGED:
        return row.error or "no reason was noted"
    if row.trouble:
        return row.trouble
    if row.verdict.startswith("damaged"):
        return row.verdict
    panels = (row.page or {}).get("panels", {}).values()
    failing = [str(panel.get("sentence")) for panel in panels if panel.get("state") == "fail"]
    return "its page: " + "; ".join(failing)


def remove_orphan_pages(place: Path, published: Collection[str], *, faces: bool) -> list[str]:
    """Remove such pages below the report's folder; return the performances that they were of.

    Only files that a report wrote are removed. Raises Fault(NOT_WRITABLE) when one cannot be.
    """
    swept = []
    for path in sorted(place.glob(f"*/*/{JSON_FILE}")):
        folder = path.parent
        name = f"{folder.parent.name}/{folder.name}"
        numbers = read_page_json(folder) if is_subject(folder.parent.name) and is_performance(folder.name) else None
        if numbers is not None and (name not in published or (not faces and numbers.get("faces") is not False)):
            _remove(folder)
            swept.append(name)
    return swept


def _remove(folder: Path) -> None:
    with os_errors("remove the old page in", folder, cause=Cause.NOT_WRITABLE):
        (folder / HTML_FILE).unlink(missing_ok=True)
        (folder / JSON_FILE).unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()
