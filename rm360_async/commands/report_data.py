"""The data of the run's page of `rm360 report`: ledger, running instances, pages written so far, disks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rm360_async.budget import SystemDisk
from rm360_async.config import Settings
from rm360_async.domain.names import Performance
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import PerformanceRow
from rm360_async.ledger import Attempt, Run, opened
from rm360_async.ledger.manifest_csv import error_text
from rm360_async.service.snapshot import Snapshot, reasons_held_back
from rm360_async.visualization.report import DiskUsage, PerformanceEntry, RunData, read_page_states


@dataclass(frozen=True)
class LedgerData:
    """What the ledger has about a run."""

    rows: list[PerformanceRow]
    attempts: list[Attempt]
    running: list[Run]

    @property
    def downloads(self) -> tuple[tuple[float, int, float], ...]:
        """Return the end (unix seconds), the bytes and the seconds of each download that brought any bytes."""
        return tuple(
            (each.ended, each.fetched_bytes, each.seconds.get("download", 0.0))
            for each in self.attempts
            if each.ended is not None and each.fetched_bytes
        )

    @property
    def published(self) -> list[Performance]:
        """Return the performances that the ledger has as completed."""
        return [row.performance for row in self.rows if row.stage is Stage.COMPLETED]


async def read_ledger(settings: Settings) -> LedgerData:
    """Return what the report needs from the ledger."""
    async with opened(settings.storage.manifest_path) as (ledger, claims):
        return LedgerData(
            await ledger.rows(claims=claims), await ledger.attempts.all(), await ledger.runs.running(claims)
        )


def _instance_line(run: Run) -> str:
    progress = f": {Snapshot.from_dict(run.progress).line()}" if run.progress else ""
    return f"running: pid {run.pid} on {run.host}{progress}"


def run_data(
    settings: Settings,
    output: Path,
    ledger: LedgerData,
    problems: Mapping[Performance, str],
    refresh_seconds: int = 0,
) -> RunData:
    """Return the data of the run's page; `output` has the pages, `problems` says why some could not be written."""
    return RunData(
        settings.storage.output_dir.parent.name,
        tuple(_entry(row, output, problems.get(row.performance, "")) for row in ledger.rows),
        ledger.downloads,
        tuple(_disks(settings)),
        tuple(_instance_line(each) for each in ledger.running),
        tuple(reason for each in ledger.running for reason in _held_back(each)),
        refresh_seconds,
    )


def _held_back(run: Run) -> list[str]:
    return reasons_held_back(Snapshot.from_dict(run.progress)) if run.progress else []


def _entry(row: PerformanceRow, output: Path, problem: str) -> PerformanceEntry:
    performance = row.performance
    has_page = row.stage is Stage.COMPLETED and not problem
    page = read_page_states(output / performance.subject / performance.name) if has_page else None
    return PerformanceEntry(
        performance.subject,
        performance.name,
        row.stage.value,
        row.cameras_extracted,
        row.frames,
        row.bytes,
        row.updated,
        error_text(row),
        row.verdict,
        page,
        problem,
    )


def _disks(settings: Settings) -> list[DiskUsage]:
    """Return the file systems of output_dir and temp_dir; one if both are on the same."""
    folders = {"output_dir": settings.storage.output_dir, "temp_dir": settings.storage.temp_dir}
    disks: dict[int, DiskUsage] = {}
    for name, path in folders.items():
        space = SystemDisk().space(path)
        known = disks.get(space.device)
        names = f"{known.name} and {name}" if known else name
        disks[space.device] = DiskUsage(names, space.free_bytes, space.total_bytes)
    return list(disks.values())
