"""The commands that need the ledger alone: export-manifest and retry."""

from __future__ import annotations

import sys
from pathlib import Path

from rm360_async.config import Settings
from rm360_async.domain.names import matches_any
from rm360_async.domain.stage import Stage
from rm360_async.ledger import Ledger, ledger_path, manifest_text, opened, write_manifest


async def export_manifest(settings: Settings, output: str | None) -> int:
    """Write MANIFEST.csv from the ledger to its place, another one, or stdout ('-')."""
    async with opened(settings.storage.manifest_path) as (ledger, claims):
        rows = await ledger.rows(claims=claims)
    if output == "-":
        sys.stdout.write(manifest_text(rows))
        return 0
    target = Path(output) if output else settings.storage.manifest_path
    await write_manifest(target, rows)
    print(f"{target}: {len(rows)} performances")
    return 0


async def retry(settings: Settings, subjects: tuple[str, ...], performances: tuple[str, ...]) -> int:
    """Put failed performances of the selection back to pending and say which."""
    async with Ledger.open(ledger_path(settings.storage.manifest_path), create=False) as ledger:
        failed = [row.performance for row in await ledger.rows() if row.stage in (Stage.FAILED, Stage.DOWNLOAD_FAILED)]
        chosen = [
            each
            for each in failed
            if (not subjects or each.subject in subjects) and (not performances or matches_any(each.name, performances))
        ]
        put_back = await ledger.requests.retry(chosen)
    for each in put_back:
        print(f"{each}: pending")
    print(f"{len(put_back)} of {len(failed)} failed performances put back")
    return 0
