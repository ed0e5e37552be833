"""Lookup: what is really there, on disk and on the remote, before anything is done.

`lookup` runs when a job is claimed, and has side effects: it removes staging folders that a crash left, completes
what a killed instance could not record any more, and fills in the job's target, whether it may be replaced, and the
published folder that it completes. `look_up_sources` asks the remote, at the start of every attempt.
"""

from __future__ import annotations

from rm360_async.config import Settings
from rm360_async.domain.clock import SYSTEM_CLOCK, Clock
from rm360_async.domain.names import kinds_needed, output_folder
from rm360_async.domain.record import EarlierRecord, Record
from rm360_async.domain.selection import SelectionPolicy, is_of_other_files, selection_for
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import Observed, PerformanceRow, PlannedState, decide_state
from rm360_async.download.downloader import Downloader
from rm360_async.ledger import adopt_folders
from rm360_async.pipeline.job import Job
from rm360_async.stages.cleanup import cleanup
from rm360_async.stages.job_log import JobLog
from rm360_async.stages.publish import log_removal
from rm360_async.store.marker import read_record
from rm360_async.store.publish import is_marked_damaged, require_publishable
from rm360_async.store.replacement import names_text, remove_staging, unlisted_entries
from rm360_async.store.staging import staging_path
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.log import logger

log = logger(__name__)


async def lookup(
    job: Job, row: PerformanceRow, settings: Settings, job_log: JobLog, clock: Clock = SYSTEM_CLOCK
) -> PlannedState:
    """Reconcile a claimed job with what is on disk; return the state that it is really in.

    Another instance may have ended it, or died on it. As the job is claimed, any staging folder that it has belongs
    to a dead process and is removed. Raises Fault if something prevents that the folder is published, so that nothing
    is downloaded for it (see `store.publish.require_publishable`).
    """
    job.target = output_folder(settings.storage.output_dir, job.performance)
    record, is_damaged = await on_disk_thread(_read_target, job)
    is_lacking = settings.selection_policy.is_lacking(job.performance, record)
    state = decide_state(row, Observed(record is not None, incomplete=is_lacking), clock.now())
    if state.stage is Stage.COMPLETED:
        await _finish_completed(job, row, settings, job_log)
    if row.stage is Stage.DOWNLOAD_FAILED:  # pending when this run began: another instance has just tried
        return PlannedState(row.stage, row.cause, row.reason)
    job.replace = row.forced or is_damaged
    if is_lacking and isinstance(record, Record) and not job.replace:
        job.previous, job.replace = record, True
    if state.stage is Stage.PENDING:
        await on_disk_thread(require_publishable, job.target, job.replace)
        await _announce_unlisted(job)
    job.selection = selection_for(settings.selection_policy, job.performance, job.previous)
    return state


def _read_target(job: Job) -> tuple[Record | EarlierRecord | None, bool]:
    """Return the record of the published folder, if there is one, and if it is marked as damaged.

    Staging folders of a crashed extraction are removed.
    """
    _remove_stale_staging(job)
    return read_record(job.target), is_marked_damaged(job.target)


async def _finish_completed(job: Job, row: PerformanceRow, settings: Settings, job_log: JobLog) -> None:
    """Do what a killed instance could not do any more after it had published."""
    if row.stage is not Stage.COMPLETED:
        log.info(f"{job.performance} was published by a run that was killed")
        adopted = await adopt_folders(settings.storage.output_dir, [job.performance])
        await job_log.ledger.import_rows(adopted.rows)
        for problem in adopted.problems:
            log.warning(problem)
    await job_log.ledger.attempts.interrupt(job.performance)
    await cleanup(job, settings, published=True)


def _remove_stale_staging(job: Job) -> None:
    for folder in job.target.parent.glob(staging_path(job.target, "*").name):
        log_removal(job.performance, folder, remove_staging(folder, job.target))


async def _announce_unlisted(job: Job) -> None:
    """Log which entries of the folder that is to be replaced were not written by rm360: they are kept."""
    entries = await on_disk_thread(unlisted_entries, job.target)
    if entries:
        what = f"holds files that rm360 did not write, and keeps them when it is replaced: {names_text(entries)}"
        log.info(f"{job.performance} {what}")


async def look_up_sources(job: Job, policy: SelectionPolicy, downloader: Downloader, job_log: JobLog) -> None:
    """Fill in the remote's files as they are now; nothing is reused of a folder that came from other ones."""
    await downloader.look_up(job, kinds_needed(policy.structure, job.selection.modalities))
    sources = tuple(job.sources.values())
    await job_log.record_sources(job)
    if job.previous is not None and is_of_other_files(job.previous, sources):
        log.info(f"{job.performance} has changed on the remote: nothing of its folder is reused")
    job.selection = selection_for(policy, job.performance, job.previous, sources)
