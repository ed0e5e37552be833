"""Retention: what is kept for a person to look at, and how much of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from rm360_async.config import Settings
from rm360_async.domain.errors import Fault
from rm360_async.domain.formatting import size_text
from rm360_async.domain.names import Performance
from rm360_async.domain.stage import FAILURES
from rm360_async.download import spool
from rm360_async.download.spool import QuarantinedFile
from rm360_async.ledger import Ledger
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.log import logger, old_logs
from rm360_async.system.os_errors import os_errors

log = logger(__name__)


FailedAmong = Callable[[set[Performance]], Awaitable[set[Performance]]]


async def limit_quarantine(settings: Settings, ledger: Ledger) -> None:
    """Do `limit_failed_files` for the performances that have failed by the ledger."""

    async def failed_among(performances: set[Performance]) -> set[Performance]:
        return {row.performance for row in await ledger.rows(performances) if row.stage in FAILURES}

    await limit_failed_files(settings, failed_among)


async def limit_failed_files(settings: Settings, failed_among: FailedAmong) -> None:
    """Remove the oldest files of failed performances from the quarantine, until `storage.keep_failed_gb` is kept.

    `failed_among` returns which of some performances have failed. Files of other performances are not counted: the
    user keeps them, or a run will restore them. A file that cannot be removed is logged and stays; raises nothing.
    """
    folder = settings.storage.temp_dir / spool.QUARANTINE
    try:
        with os_errors("read", folder):
            quarantined = await on_disk_thread(spool.quarantined, settings.storage.temp_dir)
        if sum(file.bytes for file in quarantined) > settings.storage.keep_failed_bytes:
            await _limit(quarantined, settings.storage.keep_failed_bytes, failed_among)
    except Fault as fault:
        log.warning(f"the quarantine may hold more than storage.keep_failed_gb: {fault}")


async def _limit(quarantined: Sequence[QuarantinedFile], limit: int, failed_among: FailedAmong) -> None:
    failed = await failed_among({file.performance for file in quarantined if file.performance is not None})
    files = [file for file in quarantined if file.performance in failed]
    excess = sum(file.bytes for file in files) - limit
    for file in files:
        if excess <= 0:
            break
        await on_disk_thread(_remove, file)
        excess -= file.bytes


def remove_old_logs(settings: Settings) -> None:
    """Remove the logs that are older than `logging.keep_days`; raises nothing."""
    folder = settings.storage.log_dir
    try:
        with os_errors("remove old logs from", folder):
            for path in old_logs(folder, settings.logging.keep_days):
                path.unlink(missing_ok=True)
    except Fault as fault:
        log.warning(str(fault))


def _remove(file: QuarantinedFile) -> None:
    try:
        with os_errors("remove", file.path):
            spool.remove(file.path)
    except Fault as fault:
        log.warning(f"a failed download stays in the quarantine: {fault}")
    else:
        log.warning(
            f"removed a failed download, storage.keep_failed_gb is reached: {file.path.name}",
            size=size_text(file.bytes),
        )
