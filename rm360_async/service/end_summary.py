"""What a run has done: the summary in the log, the same as JSON values, and the exit code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rm360_async.config import Settings
from rm360_async.domain.counts import StateCounts, count_states
from rm360_async.domain.exit_code import ExitCode
from rm360_async.domain.formatting import duration_text, rate_text, size_text, time_text
from rm360_async.domain.stage import ENDED, FAILURES, Stage
from rm360_async.domain.state import PerformanceRow
from rm360_async.download import spool
from rm360_async.store.replacement import kept_folders

_MAX_ROWS_SHOWN = 15
_MAX_ROWS_LISTED = 100
_MAX_REASON_CHARS = 500


@dataclass(frozen=True)
class RunSummary:
    """What a run has done so far: its performances, remarks for the user, wall seconds, bytes that it downloaded."""

    rows: Sequence[PerformanceRow] = ()
    remarks: Sequence[str] = ()
    seconds: float = 0.0
    fetched_bytes: int = 0
    counts: StateCounts = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "counts", count_states(self.rows))

    @property
    def published_bytes(self) -> int:
        """Return the bytes of all published folders."""
        return sum(row.bytes for row in self.rows if row.stage is Stage.COMPLETED)

    @property
    def unpublished(self) -> list[PerformanceRow]:
        """Return the performances that failed or wait."""
        return [row for row in self.rows if row.stage in FAILURES or row.stage is Stage.WAITING]

    def as_json(self) -> dict[str, Any]:
        """Return the summary as JSON values; sizes in bytes, times in unix seconds."""
        counts = self.counts
        return {
            "planned": counts.planned,
            "completed": counts.completed,
            "damaged": counts.damaged,
            "failed": counts.failed,
            "waiting": counts.waiting,
            "running": counts.running,
            "pending": counts.pending,
            "bytes_published": self.published_bytes,
            "bytes_fetched": self.fetched_bytes,
            "seconds": round(self.seconds, 1),
            "unpublished": [_row_json(row) for row in self.unpublished[:_MAX_ROWS_LISTED]],
            "remarks": list(self.remarks[:_MAX_ROWS_LISTED]),
        }


def _row_json(row: PerformanceRow) -> dict[str, Any]:
    reason = row.reason[:_MAX_REASON_CHARS]
    return {"performance": str(row.performance), "status": row.stage.value, "reason": reason, "until": row.wait_until}


def summary_lines(settings: Settings, summary: RunSummary) -> list[str]:
    """Return the last lines of the log, beginning with `EXTRACTION SUMMARY`; reads temp_dir and output_dir."""
    counts = summary.counts
    fetched = size_text(summary.fetched_bytes)
    if summary.fetched_bytes and summary.seconds:
        fetched += f", {rate_text(summary.fetched_bytes / summary.seconds)} over the whole run"
    lines = [
        "EXTRACTION SUMMARY",
        f"  planned     {counts.planned}",
        f"  completed   {counts.completed}, {size_text(summary.published_bytes)} in folders",
        *_damaged_line(counts.damaged),
        f"  failed      {counts.failed}",
        f"  waiting     {counts.waiting}",
        f"  still to do {counts.pending + counts.running}",
        f"  downloaded  {fetched}",
        f"  took        {duration_text(summary.seconds)}",
        f"  manifest    {settings.storage.manifest_path}",
        *_kept_lines(settings),
    ]
    return [*lines, *_row_lines(summary), *(f"  {remark}" for remark in summary.remarks)]


def _damaged_line(damaged: int) -> list[str]:
    return [f"  damaged     {damaged} of the completed; the manifest says in what"] if damaged else []


def _kept_lines(settings: Settings) -> list[str]:
    """Return a line for the .smc files in the quarantine, and one for each folder with files of the user."""
    lines = []
    files = spool.quarantined(settings.storage.temp_dir)
    if files:
        size = size_text(sum(file.bytes for file in files))
        folder = settings.storage.temp_dir / spool.QUARANTINE
        lines.append(f"  kept        {len(files)} .smc, {size} in {folder}; `rm360 clean` removes what is not needed")
    for folder in kept_folders(settings.storage.output_dir):
        count = sum(1 for _ in folder.iterdir())
        lines.append(f"  kept        {count} of your files in {folder}: the published folder has the same names")
    return lines


def _row_lines(summary: RunSummary) -> list[str]:
    """Return a line for each performance that failed or waits, and what the user can do."""
    shown = summary.unpublished
    lines = [f"  {row.performance}: {row.stage.value}: {_reason(row)}" for row in shown[:_MAX_ROWS_SHOWN]]
    if len(shown) > _MAX_ROWS_SHOWN:
        lines.append(f"  and {len(shown) - _MAX_ROWS_SHOWN} more; `rm360 status` and the manifest list them all")
    if summary.counts.failed:
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
