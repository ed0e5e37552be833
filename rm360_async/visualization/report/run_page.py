"""The run's page: states of subjects and performances in a grid, totals, reasons, storage, rates and disks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from rm360_async.domain.forecast import busy_seconds
from rm360_async.domain.names import is_performance, is_subject
from rm360_async.visualization.report.page_files import HTML_FILE, MADE_BY, SCHEMA, write_page_files
from rm360_async.visualization.report.run_data import PerformanceEntry, PerformanceState, RunData, count_entries
from rm360_async.visualization.report.templates import render
from rm360_async.visualization.report.timeline import download_plot, storage_plot

MAX_REASONS = 25
"""Reasons shown for each state."""
MAX_NAMES = 12
"""Performances named for each reason."""
MAX_REASON_CHARS = 600
SUBJECTS_PER_BLOCK = 60
"""Rows of a block of the state grid; blocks lie side by side if there is room."""
_STATES_WITH_REASONS = (PerformanceState.FAILED, PerformanceState.DAMAGED, PerformanceState.WAITING)
_SYMBOLS = {
    PerformanceState.DAMAGED: "!",
    PerformanceState.FAILED: "\N{MULTIPLICATION SIGN}",
    PerformanceState.WAITING: "w",
    PerformanceState.RUNNING: "r",
    PerformanceState.PENDING: "\N{MIDDLE DOT}",
}
"""The text of a cell besides its colour; a complete one has its number of cameras."""

StateGrid = Mapping[str, Mapping[str, list[dict[str, Any]]]]
"""Cells by subject and column; a column has several where performances share it."""


def write_run_page(run: RunData, page_dir: Path) -> dict[str, Any]:
    """Write the run's index.html and report.json to `page_dir`; return the content of report.json.

    Raises Fault if they cannot be written.
    """
    content = run_json(run)
    keys = ("made_by", "made", "name", "totals", "disks", "running", "held_back", "rates")
    values = {key: content[key] for key in keys}
    published = [(entry.updated, entry.bytes) for entry in run.performances if entry.is_published and entry.bytes]
    counts = content["totals"]["squares"]
    html = render(
        "index.html",
        columns=_columns(run.performances),
        blocks=_blocks(_state_grid(run.performances)),
        legend=[(state, counts[state.value], _SYMBOLS.get(state, "60")) for state in PerformanceState],
        reasons=_reasons(run.performances),
        storage=str(storage_plot(published)) if published else "",
        downloads=str(download_plot(run.downloads)) if run.downloads else "",
        refresh_seconds=run.refresh_seconds,
        **values,
    )
    write_page_files(page_dir, html, content)
    return content


def run_json(run: RunData) -> dict[str, Any]:
    """Return the content of a run's report.json."""
    entries = run.performances
    counts = Counter(entry.state for entry in entries)
    seconds = busy_seconds((ended - seconds, ended) for ended, _, seconds in run.downloads)
    downloaded = sum(size for _, size, _ in run.downloads)
    rate = round(downloaded / seconds, 1) if seconds else None
    return {
        "schema": SCHEMA,
        "made_by": MADE_BY,
        "made": datetime.now().astimezone().isoformat(timespec="seconds"),
        "name": run.name,
        "totals": {
            "performances": len(entries),
            "subjects": len({entry.subject for entry in entries}),
            "counts": str(count_entries(entries)),
            "squares": {state.value: counts[state] for state in PerformanceState},
            "bytes_published": sum(entry.bytes for entry in entries if entry.is_published),
            "bytes_fetched": downloaded,
        },
        "rates": {"seconds_downloading": round(seconds, 3), "bytes_a_second": rate},
        "disks": [{"name": disk.name, "free": disk.free, "total": disk.total} for disk in run.disks],
        "running": list(run.running),
        "held_back": list(run.held_back),
        "performances": {f"{entry.subject}/{entry.name}": _entry_json(entry) for entry in entries},
    }


def _entry_json(entry: PerformanceEntry) -> dict[str, Any]:
    page = entry.page or {}
    panels: Mapping[str, Mapping[str, Any]] = page.get("panels", {})
    return {
        "square": entry.state.value,
        "status": entry.status,
        "cameras": entry.cameras,
        "frames": entry.frames,
        "bytes": entry.bytes,
        "updated": entry.updated,
        "error": entry.error,
        "verdict": entry.verdict,
        "trouble": entry.problem,
        "page": _link(entry) or None,
        "checks": {key: panel.get("state") for key, panel in panels.items()},
    }


def _link(entry: PerformanceEntry) -> str:
    """Return the address of a performance's page relative to the run's; "" if it has none."""
    is_safe = is_subject(entry.subject) and is_performance(entry.name)
    return f"{entry.subject}/{entry.name}/{HTML_FILE}" if is_safe and entry.page is not None else ""


def _columns(entries: Iterable[PerformanceEntry]) -> list[str]:
    keys = {entry.column: entry.column_key for entry in entries}
    return sorted(keys, key=lambda column: keys[column])


def _state_grid(entries: Iterable[PerformanceEntry]) -> StateGrid:
    """Return the cells, each as short as possible: there may be ten thousand."""
    grid: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for entry in entries:
        text = _SYMBOLS.get(entry.state) or str(entry.cameras)
        cell = {"kind": entry.state.value, "text": text, "link": _link(entry)}
        grid.setdefault(entry.subject, {}).setdefault(entry.column, []).append(cell)
    return dict(sorted(grid.items()))


def _blocks(grid: StateGrid) -> list[StateGrid]:
    subjects = list(grid)
    starts = range(0, len(subjects), SUBJECTS_PER_BLOCK)
    return [{subject: grid[subject] for subject in subjects[start : start + SUBJECTS_PER_BLOCK]} for start in starts]


def _reasons(entries: Iterable[PerformanceEntry]) -> list[dict[str, Any]]:
    """Return why performances failed, wait or are damaged: each reason once, with the performances that have it."""
    by_state: dict[PerformanceState, dict[str, list[PerformanceEntry]]] = {state: {} for state in _STATES_WITH_REASONS}
    for entry in entries:
        if entry.state in by_state:
            by_state[entry.state].setdefault(_reason_text(entry), []).append(entry)
    reasons = []
    for state, by_reason in by_state.items():
        ordered = sorted(by_reason.items(), key=lambda item: -len(item[1]))
        reasons += [_reason(state, text, having) for text, having in ordered[:MAX_REASONS]]
        if rest := [entry for _, having in ordered[MAX_REASONS:] for entry in having]:
            reasons.append(_reason(state, "other reasons; report.json has them all", rest))
    return reasons


def _reason(state: PerformanceState, text: str, entries: list[PerformanceEntry]) -> dict[str, Any]:
    performances = [(f"{entry.subject}/{entry.name}", _link(entry)) for entry in entries[:MAX_NAMES]]
    more = max(0, len(entries) - MAX_NAMES)
    return {"state": state.value, "text": text[:MAX_REASON_CHARS], "performances": performances, "more": more}


def _reason_text(entry: PerformanceEntry) -> str:
    if entry.state is not PerformanceState.DAMAGED:
        return entry.error or "no reason was noted"
    if entry.problem:
        return entry.problem
    if entry.verdict.startswith("damaged"):
        return entry.verdict
    panels = (entry.page or {}).get("panels", {}).values()
    failing = [str(panel.get("sentence")) for panel in panels if panel.get("state") == "fail"]
    return "its page: " + "; ".join(failing)
