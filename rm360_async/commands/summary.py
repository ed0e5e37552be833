"""`rm360 summary`: the totals of the manifest, as tables, JSON or a plot."""

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
from rm360_async.domain.exit_code import ExitCode
from rm360_async.domain.formatting import size_text
from rm360_async.ledger import manifest_text, opened
from rm360_async.visualization.report.run_data import PerformanceEntry, PerformanceState
from rm360_async.visualization.summary import (
    Tally,
    by_performance,
    by_subject,
    decode_manifest,
    read_manifest,
    tally,
    write_plot,
)
from rm360_async.visualization.theme import PERFORMANCE_COLOURS

_WIDTH_WITHOUT_TERMINAL = 160
_COLOURED_STATES = set(PerformanceState) - {PerformanceState.PENDING}


async def summarize_run(settings: Settings, output: Path | None, as_json: bool) -> int:
    """Print the totals of the ledger; write a plot to `output`, if given; return the exit code."""
    async with opened(settings.storage.manifest_path) as (ledger, claims):
        text = manifest_text(await ledger.rows(claims=claims))
    path = settings.storage.manifest_path
    _print_summary(read_manifest(text, path), path, output, as_json=as_json)
    return ExitCode.DONE


def summarize_file(path: Path, output: Path | None, *, as_json: bool) -> int:
    """Do the same for a manifest of this or an earlier tool; raise BadRequest if it cannot be read."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadRequest(f"{path} cannot be read: {error.strerror}") from error
    _print_summary(read_manifest(decode_manifest(content, path), path), path, output, as_json=as_json)
    return ExitCode.DONE


def _print_summary(rows: Sequence[PerformanceEntry], path: Path, output: Path | None, *, as_json: bool) -> None:
    if output is not None:
        write_plot(rows, f"{path.absolute().parent.name}/{path.name}", output)
        print(f"written: {output}", file=sys.stderr)
    if as_json:
        print(json.dumps(_as_dict(rows), indent=1))
        return
    console = Console(width=None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL, highlight=False)
    for tallies in (by_performance(rows), by_subject(rows)):
        console.print(_table(tallies))
        console.print()
    console.print(_total_line(tally(rows)))


def _as_dict(rows: Sequence[PerformanceEntry]) -> dict[str, Any]:
    groups = {"performances": by_performance(rows), "subjects": by_subject(rows)}
    return {
        "total": tally(rows).as_json(),
        **{key: {name: each.as_json() for name, each in group.items()} for key, group in groups.items()},
    }


def _table(tallies: Mapping[str, Tally]) -> Table:
    """Return a table with a column for each state that occurs."""
    states = [state for state in PerformanceState if any(each.states[state] for each in tallies.values())]
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    table.add_column("", no_wrap=True)
    for title in (*(state.value for state in states), "cameras", "frames", "size"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, each in tallies.items():
        counts = [Text(str(each.states[state] or "-"), style=_style(state, each)) for state in states]
        ranges = [_range_text(*each.cameras[::2]), _range_text(*each.frames[::2])] if each.frames[2] else ["-", "-"]
        table.add_row(Text(name), *counts, *ranges, size_text(each.bytes))
    return table


def _style(state: PerformanceState, each: Tally) -> str:
    return PERFORMANCE_COLOURS[state.value] if each.states[state] and state in _COLOURED_STATES else ""


def _range_text(least: int, most: int) -> str:
    return str(least) if least == most else f"{least}-{most}"


def _total_line(total: Tally) -> Text:
    counts = str(total.counts) or "nothing yet"
    return Text(f"{total.performances} performances: {counts}; {size_text(total.bytes)} published")
