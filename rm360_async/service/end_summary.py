"""The end of a run: the summary in the log, and the exit code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rm360_async.config import Settings
from rm360_async.domain.exit_code import ExitCode
from rm360_async.domain.formatting import duration_text, size_text, time_text
from rm360_async.domain.stage import ENDED, FAILURES, Stage
from rm360_async.domain.state import PerformanceRow
from rm360_async.download import spool
from rm360_async.store.replacement import kept_folders

_MAX_ROWS_SHOWN = 15


def summary_lines(
    settings: Settings, rows: Sequence[PerformanceRow], remarks: Sequence[str], seconds: float
) -> list[str]:
    """Return the last lines of the log, beginning with `EXTRACTION SUMMARY`; `seconds` is how long the run took."""
    counts = Counter(row.stage for row in rows)
    failed = sum(counts[stage] for stage in FAILURES)
    published = sum(row.bytes for row in rows if row.stage is Stage.COMPLETED)
    lines = [
        "EXTRACTION SUMMARY",
        f"  planned     {len(rows)}",
        f"  completed   {counts[Stage.COMPLETED]}, {size_text(published)} in folders",
        f"  failed      {failed}",
        f"  waiting     {counts[Stage.WAITING]}",
        f"  still to do {len(rows) - counts[Stage.COMPLETED] - failed - counts[Stage.WAITING]}",
        f"  took        {duration_text(seconds)}",
        f"  manifest    {settings.storage.manifest_path}",
    ]
    files = spool.quarantined(settings.storage.temp_dir)
    if files:
        size = size_text(sum(file.bytes for file in files))
        folder = settings.storage.temp_dir / spool.QUARANTINE
        lines.append(f"  kept        {len(files)} .smc, {size} in {folder}; `rm360 clean` removes what is not needed")
    for folder in kept_folders(settings.storage.output_dir):
        count = sum(1 for _ in folder.iterdir())
        lines.append(f"  kept        {count} of your files in {folder}: the published folder has the same names")
    return [*lines, *_row_lines(rows), *(f"  {remark}" for remark in remarks)]


def _row_lines(rows: Sequence[PerformanceRow]) -> list[str]:
    """Return a line for each performance that failed or waits, and what the user can do."""
    shown = [row for row in rows if row.stage in FAILURES or row.stage is Stage.WAITING]
    lines = [f"  {row.performance}: {row.stage.value}: {_reason(row)}" for row in shown[:_MAX_ROWS_SHOWN]]
    if len(shown) > _MAX_ROWS_SHOWN:
        lines.append(f"  and {len(shown) - _MAX_ROWS_SHOWN} more; `rm360 status` and the manifest list them all")
    if any(row.stage in FAILURES for row in rows):
        lines.append("  run `rm360 retry` to requeue failed performances")
    return lines


def _reason(row: PerformanceRow) -> str:
    return f"until {time_text(row.wait_until)}: {row.reason}" if row.wait_until else row.reason


def exit_code(rows: Sequence[PerformanceRow], remarks: Sequence[str], stop_code: ExitCode | None = None) -> ExitCode:
    """Return the exit code of a run that planned `rows`; `stop_code` is that of a stop which left work.

    It is computed from the ledger and not from the course of the run: what the run forgot is not done.
    """
    if stop_code is not None and any(row.stage not in ENDED for row in rows):
        return stop_code
    all_done = not remarks and all(row.stage is Stage.COMPLETED for row in rows)
    return ExitCode.DONE if all_done else ExitCode.SOME_FAILED
