"""Checks of the ledger: its integrity, the instances that use it, and whether it agrees with the folders."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from rm360_async.commands.doctor.result import CheckResult, fail_of, ok, shortened, warn
from rm360_async.config import Settings
from rm360_async.domain.errors import Fault
from rm360_async.domain.names import Performance
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import PerformanceRow
from rm360_async.ledger import ledger_path, opened
from rm360_async.service.run_plan import is_published
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.files import path_exists


async def check_ledger(settings: Settings) -> AsyncIterator[CheckResult]:
    """Yield the checks of the ledger; opening it checks its structure (SQLite's integrity_check)."""
    path = ledger_path(settings.storage.manifest_path)
    if not path_exists(path):
        yield ok("ledger", f"there is none at {path} yet; the first run creates it")
        return
    try:
        async with opened(settings.storage.manifest_path) as (ledger, claims):
            rows = await ledger.rows(claims=claims)
            running = await ledger.runs.running(claims)
            needs_migration = ledger.needs_migration
    except Fault as fault:
        yield fail_of("ledger", fault)
        return
    yield ok("ledger", f"{path} is intact: {len(rows)} performances")
    if needs_migration:
        yield ok("ledger", "it was written by an earlier version: the next run migrates it and keeps a copy beside it")
    if running:
        yield ok("ledger", f"a run is active: pid {', '.join(f'{run.pid} on {run.host}' for run in running)}")
    missing = await on_disk_thread(_missing_folders, settings.storage.output_dir, rows)
    if missing:
        text = f"completed, but not published: {shortened(missing)}"
        yield warn("ledger", text, "is the disk of output_dir mounted? otherwise the next run extracts them again")


def _missing_folders(output_dir: Path, rows: list[PerformanceRow]) -> list[Performance]:
    completed = [row.performance for row in rows if row.stage is Stage.COMPLETED]
    return [each for each in completed if not is_published(output_dir, each)]


async def read_rows(settings: Settings) -> list[PerformanceRow]:
    """Return the rows of the ledger; none if it cannot be read, which `check_ledger` reports."""
    if not path_exists(ledger_path(settings.storage.manifest_path)):
        return []
    try:
        async with opened(settings.storage.manifest_path) as (ledger, claims):
            return await ledger.rows(claims=claims)
    except Fault:
        return []
