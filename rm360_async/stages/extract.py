"""Extract: a child process extracts the files into a sealed staging folder beside the final one."""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path

import anyio

from rm360_async.config import Settings
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Kind
from rm360_async.domain.record import Record
from rm360_async.domain.selection import FetchMode
from rm360_async.extraction.job import ExtractJob
from rm360_async.extraction.worker_client import RunExtraction, WorkerLimits
from rm360_async.pipeline.job import Job
from rm360_async.store.staging import StagingLock, staging_path
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.fault_points import reach
from rm360_async.system.files import discard
from rm360_async.system.log import logger

log = logger(__name__)


async def extract(job: Job, settings: Settings, limits: WorkerLimits, run: RunExtraction) -> Record:
    """Extract into a sealed staging folder, in a child process; a failed extraction leaves nothing behind."""
    await _make_staging(job)
    job.progress.total_bytes = job.spool_need

    def on_progress(files: int, size: int) -> None:
        job.progress.files, job.progress.done_bytes = files, size
        if job.lease is not None:
            job.lease.record_written(size, files)

    reach("ready to extract")
    try:
        return await run(make_extract_job(job, settings), limits, on_progress)
    except BaseException as error:
        await discard_staging(job)
        on_progress(0, 0)
        if isinstance(error, Fault) and error.cause is Cause.NOT_FETCHED:
            log.warning(f"{error}: byte ranges were not enough, downloading the whole file")
            job.fetch_mode, job.needs_whole = FetchMode.WHOLE, True
            job.spooled.clear()
        if isinstance(error, Fault):
            raise with_source_advice(error, job) from error
        raise


def make_extract_job(job: Job, settings: Settings) -> ExtractJob:
    """Return what the child process is to extract."""
    paths = {kind: str(path) for kind, path in job.spooled.items()}
    return ExtractJob(
        performance=job.performance,
        raw=paths.get(Kind.RAW),
        anno=paths.get(Kind.ANNO),
        sources=tuple(job.sources.values()),
        staging=str(job.staging_dir or ""),
        cameras=job.selection.cameras,
        modalities=tuple(modality.value for modality in job.selection.modalities),
        damaged=settings.processing.damaged,
        verify=settings.processing.verify_extraction,
        fetched=(FetchMode.RANGES if job.fetch_mode is FetchMode.RANGES else FetchMode.WHOLE).value,
        previous=str(job.target) if job.selection.completes else None,
    )


def with_source_advice(fault: Fault, job: Job) -> Fault:
    """Return the fault with the right advice: a file whose md5 was compared is the same after another download."""
    compared = job.fetch_mode is not FetchMode.RANGES and all(source.md5 for source in job.sources.values())
    if fault.cause not in (Cause.UNREADABLE, Cause.DAMAGED) or not compared:
        return fault
    hint = "size and md5 match the remote, so the file is damaged there: report it to its owner"
    return Fault(fault.cause, fault.message, hint)


async def _make_staging(job: Job) -> None:
    """Make a new staging folder, which other processes leave alone; one of an attempt that was given up is removed."""
    await discard_staging(job)
    job.staging_dir = staging_path(job.target, job.attempt_id or secrets.token_hex(4))
    with anyio.CancelScope(shield=True):
        job.staging_lock = _HeldFolder(await on_disk_thread(StagingLock, job.staging_dir))


async def discard_staging(job: Job) -> None:
    """Remove the job's staging folder as well as can be, and the subject's folder if nothing else is in it."""
    staging, job.staging_dir = job.staging_dir, None
    with anyio.CancelScope(shield=True):
        await job.release_staging()
        if staging is not None:
            await on_disk_thread(_discard, staging)


def _discard(staging: Path) -> None:
    discard(staging)
    with suppress(OSError):  # other performances are there
        staging.parent.rmdir()


class _HeldFolder:
    """The lock of a staging folder as the pipeline releases it."""

    def __init__(self, lock: StagingLock) -> None:
        self._lock = lock

    async def release(self) -> None:
        with anyio.CancelScope(shield=True):
            await on_disk_thread(self._lock.release)
