"""What `rm360 clean` may remove: found from the ledger, the config and the disk; nothing is changed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from rm360_async.budget import BUSY_SECONDS, LEASES, Busy, leased_names
from rm360_async.commands.verify.repair import is_selected
from rm360_async.config import Settings
from rm360_async.domain.names import Performance
from rm360_async.domain.stage import FAILURES, Stage
from rm360_async.domain.state import PerformanceRow
from rm360_async.download import spool
from rm360_async.ledger import ledger_path, opened
from rm360_async.store.replacement import kept_folders
from rm360_async.store.staging import find_staging_folders
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.log import old_logs
from rm360_async.system.os_errors import os_errors

AGED_SECONDS = 3600.0
"""Nothing was written to a staging folder for so long: no extraction is at work in it."""


class ItemKind(str, Enum):
    """Why something is not needed; the value is its heading."""

    FAILED = "downloads that could not be extracted, or that this config does not need"
    ORPHAN = "unfinished downloads that this config does not need"
    STAGING = "left by interrupted extractions"
    LOG = "logs older than logging.keep_days"


@dataclass(frozen=True)
class RemovableItem:
    """One file or folder that may go; `bytes` is what it takes."""

    kind: ItemKind
    path: Path
    bytes: int
    performance: Performance | None = None


@dataclass
class Removable:
    """Everything that may go, and what stays although it could look removable."""

    items: list[RemovableItem] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


async def list_removable(settings: Settings) -> Removable:
    """Return what is not needed; raise Fault for a folder or a ledger that cannot be read."""
    rows: dict[Performance, PerformanceRow] = {}
    in_use: set[Performance] = set()
    if ledger_path(settings.storage.manifest_path).exists():
        async with opened(settings.storage.manifest_path) as (ledger, claims):
            rows = {row.performance: row for row in await ledger.rows(claims=claims)}
            numbers = await ledger.row_numbers()
            in_use = await on_disk_thread(lambda: {each for each, n in numbers.items() if claims.is_claimed(n)})
    return await on_disk_thread(_list, settings, rows, in_use)


def _list(settings: Settings, rows: Mapping[Performance, PerformanceRow], in_use: set[Performance]) -> Removable:
    storage = settings.storage
    found = Removable()
    with os_errors("read", storage.temp_dir):
        leased = _leased_names(storage.temp_dir)
        items = [*_quarantined(settings, rows), *_orphans(settings, rows)]
        found.items = [item for item in items if item.path.name not in leased]
    with os_errors("read", storage.output_dir):
        found.items += _staging_folders(storage.output_dir)
        found.remarks = [f"not removed: your files in {folder}" for folder in kept_folders(storage.output_dir)]
    found.items = [item for item in found.items if item.performance not in in_use]
    with os_errors("read", storage.log_dir):
        found.items += _logs(settings)
    return found


def _logs(settings: Settings) -> Iterator[RemovableItem]:
    for path in old_logs(settings.storage.log_dir, settings.logging.keep_days):
        with suppress(FileNotFoundError):  # another process has just removed it
            yield RemovableItem(ItemKind.LOG, path, path.lstat().st_size)


def _leased_names(temp_dir: Path) -> frozenset[str]:
    """Return the names that live leases are for; none if no run has ever used the folder."""
    if not (temp_dir / LEASES).is_dir():
        return frozenset()
    while True:
        with suppress(Busy), leased_names(temp_dir) as names:
            return names
        time.sleep(BUSY_SECONDS)


def _quarantined(settings: Settings, rows: Mapping[Performance, PerformanceRow]) -> Iterator[RemovableItem]:
    for file in spool.quarantined(settings.storage.temp_dir):
        if file.performance is not None and _may_go(settings, rows.get(file.performance), file.performance):
            yield RemovableItem(ItemKind.FAILED, file.path, file.bytes, file.performance)


def _may_go(settings: Settings, row: PerformanceRow | None, performance: Performance) -> bool:
    """Return True for a quarantined file of a failed performance, or one that is not needed and not kept on purpose."""
    if row is not None and row.stage in FAILURES:
        return True
    is_extracted = row is None or row.stage is Stage.COMPLETED
    kept_on_purpose = is_extracted and not settings.processing.delete_smc_after_extraction
    return not kept_on_purpose and not _is_needed(settings, row, performance)


def _is_needed(settings: Settings, row: PerformanceRow | None, performance: Performance) -> bool:
    """Return True if a run with this config continues with the spooled files of a performance."""
    if row is None or not is_selected(settings, performance):
        return False
    return row.stage is not Stage.COMPLETED or row.forced


def _orphans(settings: Settings, rows: Mapping[Performance, PerformanceRow]) -> Iterator[RemovableItem]:
    temp_dir = settings.storage.temp_dir
    for path in sorted(temp_dir.iterdir()) if temp_dir.is_dir() else ():
        performance = spool.performance_of(path)
        if performance is None or not path.is_file() or path.is_symlink():
            continue
        if not _is_needed(settings, rows.get(performance), performance):
            with suppress(FileNotFoundError):  # its job has just ended
                yield RemovableItem(ItemKind.ORPHAN, path, path.lstat().st_blocks * 512, performance)


def _staging_folders(output_dir: Path) -> Iterator[RemovableItem]:
    """Yield the staging folders to which nothing was written for some time: `rm360 extract` may work in the others."""
    for performance, folder in find_staging_folders(output_dir):
        with suppress(FileNotFoundError):  # its extraction has just ended, or another process removes it
            entries = [path.lstat() for path in (folder, *folder.rglob("*"))]
            if max(entry.st_mtime for entry in entries) < time.time() - AGED_SECONDS:
                yield RemovableItem(ItemKind.STAGING, folder, sum(entry.st_size for entry in entries), performance)
