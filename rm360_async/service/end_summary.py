"""The end of a run: what the log says and what the shell gets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rm360_async.config import Settings
from rm360_async.domain.exit_code import ExitCode
from rm360_async.domain.formatting import duration_text, size_text, time_text
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import PerformanceRow
from rm360_async.download import spool

_NAMED = 15
_FAILURES = (Stage.FAILED, Stage.DOWNLOAD_FAILED)


def summary_lines(
    settings: Settings, rows: Sequence[PerformanceRow], remarks: Sequence[str], seconds: float
) -> list[str]:
    """Return the lines of the log's last block, `EXTRACTION SUMMARY` first."""
    counts = Counter(row.stage for row in rows)
    open_rows = len(rows) - sum(counts[stage] for stage in (Stage.COMPLETED, Stage.WAITING, *_FAILURES))
    published = sum(row.bytes for row in rows if row.stage is Stage.COMPLETED)
    lines = [
        "EXTRACTION SUMMARY",
        f"  planned     {len(rows)}",
        f"  completed   {counts[Stage.COMPLETED]}, {size_text(published)} in folders",
        f"  failed      {sum(counts[stage] for stage in _FAILURES)}",
        f"  waiting     {counts[Stage.WAITING]}",
        f"  still to do {open_rows}",
        f"  took        {duration_text(seconds)}",
        f"  manifest    {settings.storage.manifest_path}",
    ]
    files, size = spool.quarantined(settings.storage.temp_dir)
    if files:
        lines.append(f"  kept        {files} .smc, {size_text(size)} in {settings.storage.temp_dir / spool.QUARANTINE}")
    told = [row for row in rows if row.stage in _FAILURES or row.stage is Stage.WAITING]
    lines += [f"  {row.performance}: {row.stage.value}: {_reason(row)}" for row in told[:_NAMED]]
    if len(told) > _NAMED:
        lines.append(f"  and {len(told) - _NAMED} more; `rm360 status` and the manifest name them all")
    if any(row.stage in _FAILURES for row in rows):
        lines.append("  `rm360 retry` puts failed ones back")
    return lines + [f"  {remark}" for remark in remarks]


def _reason(row: PerformanceRow) -> str:
    return f"until {time_text(row.wait_until)}: {row.reason}" if row.wait_until else row.reason


def exit_code(rows: Sequence[PerformanceRow], remarks: Sequence[str], *, stopped: bool) -> ExitCode:
    """Return DONE if all is done or the run was asked to stop, SOME_FAILED if something failed or waits.

    It is computed from the ledger and not from the run's own course: what was forgotten is not done.
    """
    done = stopped or (not remarks and all(row.stage is Stage.COMPLETED for row in rows))
    return ExitCode.DONE if done else ExitCode.SOME_FAILED
