"""`rm360 summary`: the manifest added up, as tables, JSON or a plot."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rm360_async.config import Settings
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.formatting import size_text
from rm360_async.ledger import manifest_text, opened
from rm360_async.visualization.report.run_data import PerformanceEntry, PerformanceState
from rm360_async.visualization.summary import Tally, by_performance, by_subject, read_manifest, tally, write_plot
from rm360_async.visualization.theme import PERFORMANCE_COLOURS


async def summarize_run(settings: Settings, output: Path | None, as_json: bool) -> int:
    """Show the manifest as the ledger has it now; return 0."""
    async with opened(settings.storage.manifest_path) as (ledger, claims):
        text = manifest_text(await ledger.rows(claims=claims))
    path = settings.storage.manifest_path
    _show(read_manifest(text, path), path, output, as_json=as_json)
    return 0


def summarize_file(path: Path, output: Path | None, *, as_json: bool) -> int:
    """Show a manifest's file, of this or the earlier tool; return 0. BadRequest when it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise BadRequest(f"{path} cannot be read: {reason}") from error
    _show(read_manifest(text, path), path, output, as_json=as_json)
    return 0


def _show(rows: Sequence[PerformanceEntry], path: Path, output: Path | None, *, as_json: bool) -> None:
    if output is not None:
        write_plot(rows, f"{path.absolute().parent.name}/{path.name}", output)
        print(f"written: {output}", file=sys.stderr)
    if as_json:
        print(json.dumps(_numbers(rows), indent=1))
        return
    console = Console(width=None if sys.stdout.isatty() else _WIDTH, highlight=False)
    for part in (by_performance(rows), by_subject(rows)):
        console.print(_table(part))
        console.print()
    console.print(_line(tally(rows)))


def _numbers(rows: Sequence[PerformanceEntry]) -> dict[str, Any]:
    parts = {"performances": by_performance(rows), "subjects": by_subject(rows)}
    return {
        "total": tally(rows).as_json(),
        **{key: {name: each.as_json() for name, each in part.items()} for key, part in parts.items()},
    }


def _table(part: Mapping[str, Tally]) -> Table:
    """Return a table with a column for each state that occurs."""
    squares = [square for square in PerformanceState if any(each.states[square] for each in part.values())]
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    table.add_column("", no_wrap=True)
    for title in (*(square.value for square in squares), "cameras", "frames", "size"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, each in part.items():
        counts = [Text(str(each.states[square] or "-"), style=_style(square, each)) for square in squares]
        spans = [_span(*each.cameras[::2]), _span(*each.frames[::2])] if each.frames[2] else ["-", "-"]
        table.add_row(Text(name), *counts, *spans, size_text(each.bytes))
    return table


def _style(square: PerformanceState, each: Tally) -> str:
    return PERFORMANCE_COLOURS[square.value] if each.states[square] and square in _TOLD else ""


_WIDTH = 160
"""Columns where nobody's terminal tells how many there are."""
_TOLD = (PerformanceState.COMPLETE, PerformanceState.DAMAGED, PerformanceState.WAITING)


def _span(least: int, most: int) -> str:
    return str(least) if least == most else f"{least}-{most}"


def _line(whole: Tally) -> Text:
    states = ", ".join(f"{count} {square.value}" for square, count in whole.states.items() if count) or "nothing yet"
    return Text(f"{whole.performances} performances: {states}; {size_text(whole.bytes)} published")
