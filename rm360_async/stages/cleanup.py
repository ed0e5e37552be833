"""Cleanup: what becomes of the files in the spool."""

from __future__ import annotations

from pathlib import Path

from rm360_async.budget import Lease, leased_by_others
from rm360_async.config import Settings
from rm360_async.domain.errors import Fault
from rm360_async.domain.names import Kind, Performance
from rm360_async.download import spool
from rm360_async.pipeline.job import Job
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.log import logger
from rm360_async.system.os_errors import os_errors

log = logger(__name__)


async def cleanup(job: Job, settings: Settings, *, published: bool) -> None:
    """Remove (published) or quarantine (failed) the job's files; one that cannot be moved is logged and stays.

    Of a published performance nothing is left in the spool, however its bytes had come before a kill; whether its
    whole files are removed or quarantined is `processing.delete_smc_after_extraction`.
    """
    spooled = None if published else list(job.spooled.values())
    own = job.lease.spool_paths if isinstance(job.lease, Lease) else []
    await on_disk_thread(_put_all_away, settings, job.performance, spooled, own)
    job.forget_spooled()


def _put_all_away(settings: Settings, performance: Performance, spooled: list[Path] | None, own: list[Path]) -> None:
    """Remove or quarantine the files of a failed job, or (None) all that the spool has of a published performance.

    Files for which another instance has a lease stay: it has a ledger of its own, and is downloading or extracting
    them. `own` are the paths of the job's own lease.
    """
    temp_dir, published = settings.storage.temp_dir, spooled is None
    if spooled is None:
        spooled = [path for kind in Kind for path in spool.files_of(temp_dir, performance, kind)]
    if not spooled:
        return
    try:
        with leased_by_others(temp_dir, own) as leased:
            for path in spooled:
                if path.name not in leased:
                    _put_away(path, remove=published and settings.processing.delete_smc_after_extraction)
    except Fault as fault:  # the queue of leases cannot be read
        log.warning(f"downloaded files of {performance} stay in the spool: {fault}")


def _put_away(path: Path, *, remove: bool) -> None:
    try:
        with os_errors("remove", path):
            if path.exists():
                remove = remove or spool.is_unfinished(path)  # a part of a file is of no use
                spool.remove(path) if remove else spool.quarantine(path)
    except Fault as fault:
        log.warning(f"a downloaded file stays in the spool: {fault}", file=path.name)
