"""Publish: the sealed staging folder gets its final name, in one step."""

from __future__ import annotations

from pathlib import Path

import anyio

from rm360_async.domain.errors import Fault
from rm360_async.domain.names import Performance, Structure
from rm360_async.domain.record import Record
from rm360_async.domain.selection import FetchMode
from rm360_async.download import spool
from rm360_async.download.ranges.estimate import full_sizes, index_bytes, index_key
from rm360_async.pipeline.job import Job
from rm360_async.stages.extract import discard_staging
from rm360_async.stages.job_log import JobLog
from rm360_async.stages.reserve import ratio_key
from rm360_async.store import publish as store
from rm360_async.store.replacement import MovedEntries
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.log import logger

log = logger(__name__)


async def publish(job: Job, record: Record, job_log: JobLog, structure: Structure) -> None:
    """Make the folder appear under its final name, durably; a refused one leaves nothing behind."""
    assert job.staging_dir is not None, "published before it was extracted"
    with anyio.CancelScope(shield=True):  # a rename that happened must be recorded
        try:
            moved = await on_disk_thread(store.publish, job.staging_dir, job.target, job.replace)
        except Fault:
            await discard_staging(job)
            raise
        await job.release_staging()
        log_moved_entries(job.performance, moved)
        await _record_ratios(job, record, job_log, structure)


def log_removal(performance: Performance, folder: Path, moved: MovedEntries | None) -> None:
    """Log that a staging folder of a crashed extraction was removed, and what it held; nothing for one in use."""
    if moved is not None:
        log.info("removed what an interrupted extraction left", folder=str(folder))
        log_moved_entries(performance, moved)


def log_moved_entries(performance: Performance, moved: MovedEntries | None) -> None:
    """Log what became of the entries of a replaced folder that its list of files does not name."""
    if moved is None:
        return
    write = log.warning if moved.kept or moved.remaining else log.info
    for message in moved.messages:
        write(f"{performance}: {message}")


async def _record_ratios(job: Job, record: Record, job_log: JobLog, structure: Structure) -> None:
    """Record output bytes per input byte, of the whole and by modality: later leases and estimates use them."""
    ledger, size = job_log.ledger, job.source_bytes
    try:
        await ledger.hints.record_ratio(
            ratio_key(structure, job.performance), input_bytes=size, output_bytes=record.bytes
        )
        for key, of_all_cameras in full_sizes(structure, job.performance, record).items():
            await ledger.hints.record_ratio(key, input_bytes=size, output_bytes=of_all_cameras)
        if job.fetch_mode is FetchMode.RANGES and job.previous is None:
            downloaded = await on_disk_thread(spool.bytes_of, job.spool_paths.values())
            needed = index_bytes(record, max(downloaded, job.fetched_bytes))
            key = index_key(structure, job.performance)
            await ledger.hints.record_ratio(key, input_bytes=size, output_bytes=needed)
    except Fault as fault:  # only an estimate of the next lease: never a reason to fail what is published
        log.warning(f"cannot record the output size of {job.performance}: {fault}")
