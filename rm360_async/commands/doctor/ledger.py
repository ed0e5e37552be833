"""The ledger: whether it is sound, who works with it, and whether it agrees with the folders."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from anyio.to_thread import run_sync

from rm360_async.commands.doctor.result import CheckResult, fail_of, ok, warn
from rm360_async.config import Settings
from rm360_async.domain.errors import Fault
from rm360_async.domain.names import Performance
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import PerformanceRow
from rm360_async.ledger import ledger_path, opened
from rm360_async.service.run_plan import is_published
from rm360_async.system.linux import is_there

_NAMED = 5


async def look_at_ledger(settings: Settings) -> AsyncIterator[CheckResult]:
    """Yield what there is to say of the ledger; opening it checks its structure (integrity_check)."""
    path = ledger_path(settings.storage.manifest_path)
    if not is_there(path):
        yield ok("ledger", f"there is none at {path} yet; the first run makes it")
        return
    try:
        async with opened(settings.storage.manifest_path) as (ledger, claims):
            rows = await ledger.rows(claims=claims)
            running = await ledger.runs.running(claims)
            old = ledger.needs_migration
    except Fault as fault:
        yield fail_of("ledger", fault)
        return
    yield ok("ledger", f"{path} is sound: {len(rows)} performances")
    if old:
        yield ok("ledger", "it is of an earlier rm360: the next run migrates it, and keeps a copy beside it")
    if running:
        pids = ", ".join(f"{run.pid} on {run.host}" for run in running)
        yield ok("ledger", f"a run is going on: pid {pids}")
    gone = await run_sync(_gone, settings.storage.output_dir, rows)
    if gone:
        more = f" and {len(gone) - _NAMED} more" if len(gone) > _NAMED else ""
        text = f"completed, but not published: {', '.join(map(str, gone[:_NAMED]))}{more}"
        yield warn("ledger", text, "is the disk of output_dir mounted? else the next run extracts them again")


def _gone(output_dir: Path, rows: list[PerformanceRow]) -> list[Performance]:
    done = [row.performance for row in rows if row.stage is Stage.COMPLETED]
    return [each for each in done if not is_published(output_dir, each)]


async def rows_of(settings: Settings) -> list[PerformanceRow]:
    """Return the ledger's rows; none when it cannot be read, which `look_at_ledger` says."""
    if not is_there(ledger_path(settings.storage.manifest_path)):
        return []
    try:
        async with opened(settings.storage.manifest_path) as (ledger, claims):
            return await ledger.rows(claims=claims)
    except Fault:
        return []
