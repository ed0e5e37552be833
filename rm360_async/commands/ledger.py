"""`rm360 export-manifest` and `rm360 retry`, which need only the ledger."""

from __future__ import annotations

import sys
from pathlib import Path

from rm360_async.config import Settings
from rm360_async.domain.exit_code import ExitCode
from rm360_async.domain.stage import FAILURES, Stage
from rm360_async.domain.terms import PerformanceFilter
from rm360_async.ledger import Ledger, keep_earlier_manifest, ledger_path, manifest_text, opened, write_manifest


async def export_manifest(settings: Settings, output: str | None) -> int:
    """Write MANIFEST.csv from the ledger to storage.manifest_path, to `output`, or to stdout ('-')."""
    async with opened(settings.storage.manifest_path) as (ledger, claims):
        rows = await ledger.rows(claims=claims)
        if not output:
            await keep_earlier_manifest(ledger, settings.storage.manifest_path, record=False)
    if output == "-":
        sys.stdout.write(manifest_text(rows))
        return ExitCode.DONE
    target = Path(output) if output else settings.storage.manifest_path
    await write_manifest(target, rows)
    print(f"{target}: {len(rows)} performances")
    return ExitCode.DONE


async def retry(settings: Settings, wanted: PerformanceFilter, waiting: bool) -> int:
    """Requeue the selected performances that failed, or that wait, and print them; return the exit code."""
    stages = (Stage.WAITING,) if waiting else FAILURES
    async with Ledger.open(ledger_path(settings.storage.manifest_path), create=False) as ledger:
        rows = await ledger.rows()
        candidates = [row.performance for row in rows if row.stage in stages]
        requeued = await ledger.requests.retry(list(filter(wanted.selects, candidates)), waiting=waiting)
    for remark in wanted.unmatched(row.performance for row in rows):
        print(f"note: {remark}", file=sys.stderr)
    for each in requeued:
        print(f"{each}: pending")
    print(f"{len(requeued)} of {len(candidates)} {'waiting' if waiting else 'failed'} performances requeued")
    return ExitCode.DONE
