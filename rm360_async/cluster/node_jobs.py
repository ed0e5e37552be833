"""The jobs that a run has placed on this node, and their steps, done by the functions of one machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import anyio

from rm360_async.budget import Budget, Lease, SystemDisk
from rm360_async.cluster.notes import NodeNotes
from rm360_async.cluster.values import (
    DOWNLOAD,
    EXTRACT,
    PUBLISHED,
    RESERVE,
    Values,
    fault_values,
    fill_job,
    outcome_values,
    performance_from,
)
from rm360_async.config import Settings
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Performance
from rm360_async.download import spool
from rm360_async.download.accounts import Accounts
from rm360_async.extraction.worker_client import Workers
from rm360_async.pipeline.job import Job
from rm360_async.stages.cleanup import cleanup
from rm360_async.stages.download import download
from rm360_async.stages.extract import extract
from rm360_async.stages.reserve import evict_orphans, reserve, wait_for_space
from rm360_async.stages.retention import limit_failed_files
from rm360_async.stages.wiring import build_downloaders, worker_limits_of
from rm360_async.system.changed import Changed
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.log import logger

log = logger(__name__)


class SpoolBudget(Budget):
    """The budget of this node's spool alone: the coordinator promises the output disk, once for all nodes."""

    async def lease(self, name: str, staging_bytes: int, *_: int, **options: Any) -> Lease:
        """Return a lease of `staging_bytes`, see `Budget`."""
        return await super().lease(name, staging_bytes, **options)


@dataclass
class _HeldJob:
    job: Job
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    fetched_before: int = 0
    """Bytes that crossed the network before the step that is being done."""
    is_extracting: bool = False

    def outcome(self, fault: Fault | None) -> Values:
        """Return the outcome of a step as it is now; None: it has succeeded."""
        values = None if fault is None else fault_values(fault)
        fetched_bytes = self.job.fetched_bytes - self.fetched_before
        return {"fault": values, "job": outcome_values(self.job), "fetched_bytes": fetched_bytes}


class NodeJobs:
    """Does the steps of jobs with the real remote, disks and child processes of this machine."""

    def __init__(self, settings: Settings, accounts: Accounts, workers: Workers, notes: NodeNotes) -> None:
        storage, limits = settings.storage, settings.limits
        self.settings, self.notes, self._workers = settings, notes, workers
        self.budget = SpoolBudget(
            storage.temp_dir,
            storage.temp_dir,
            limits.max_temp_bytes,
            limits.min_free_bytes,
            excluded_dirs=(storage.temp_dir / spool.QUARANTINE,),
            evict_orphans=evict_orphans,
        )
        self.worker_limits = worker_limits_of(settings)
        self._downloader, self._range_downloader = build_downloaders(settings, notes, accounts)
        self._extractions = anyio.CapacityLimiter(settings.processing.worker_count)
        self._jobs: dict[Performance, _HeldJob] = {}
        self.failed: set[Performance] = set()
        """Performances of the run that have failed, whose files in the quarantine are bounded."""
        self.changed = Changed()

    @property
    def is_empty(self) -> bool:
        """Return True if the run has placed nothing here."""
        return not self._jobs

    async def perform(self, message: Mapping[str, Any]) -> Values:
        """Do the step of a message; return its outcome, with the fault if it failed."""
        performance = performance_from(message["performance"])
        while True:
            held = self._jobs.setdefault(performance, _HeldJob(Job(performance)))
            async with held.lock:
                if self._jobs.get(performance) is held:  # else it was released while this waited for the lock
                    return await self._outcome(held, message)

    async def _outcome(self, held: _HeldJob, message: Mapping[str, Any]) -> Values:
        held.fetched_before = held.job.fetched_bytes
        try:
            return {**await self._perform(held, message), **held.outcome(None)}
        except Fault as fault:
            return held.outcome(fault)
        except Exception as error:
            log.exception(f"internal error in the step {message['step']} of {message['performance']}")
            what = f"internal error on the node: {error!r}"
            return held.outcome(Fault(Cause.UNKNOWN, what, "report it; the node's log has more"))

    def outcome(self, performance: Performance, fault: Fault) -> Values:
        """Return the outcome of a step that was broken off; empty without its job, which was released."""
        return (self._jobs.get(performance) or _HeldJob(Job(performance))).outcome(fault)

    async def _perform(self, held: _HeldJob, message: Mapping[str, Any]) -> Values:
        step, job = message["step"], held.job
        if step == RESERVE:
            return await self._reserve(job, message)
        if step == DOWNLOAD:
            await download(job, self.settings, self.budget, self._downloader, self._range_downloader)
            return {}
        if step == EXTRACT:
            job.attempt_id = message["attempt"]
            return await self._extract(held)
        raise Fault(Cause.UNKNOWN, f"this version has no step {step}", "install one version on all machines")

    async def _reserve(self, job: Job, message: Mapping[str, Any]) -> Values:
        fill_job(job, message["job"])
        paths = [file.path for file in job.remote_files.values()]
        self.notes.fill_quotas(paths, (tuple(each) for each in message["quotas"]))
        self.notes.fill_meta(message["meta"])
        temp_dir, sources = self.settings.storage.temp_dir, job.sources
        job.spool_paths = {
            kind: spool.whole_path(temp_dir, job.performance, kind, source) for kind, source in sources.items()
        }
        structure, fetch = self.settings.google_drive.structure, self.settings.processing.fetch
        await reserve(job, self.budget, message["ratios"], structure, fetch)
        job.spooled_bytes = await on_disk_thread(spool.bytes_of, job.spool_paths.values())
        return {}

    async def _extract(self, held: _HeldJob) -> Values:
        job = held.job
        job.progress.note = "waits for an extraction to end"
        async with self._extractions:
            job.progress.note = ""
            await wait_for_space(job, self.budget)
            held.is_extracting = True
            try:
                record = await extract(job, self.settings, self.worker_limits, self._workers.extract)
            finally:
                held.is_extracting = False
        return {"record": asdict(record)}

    async def release(self, performance: Performance, ended: str = "") -> None:
        """End a job here, once its step has ended.

        Its files in the spool stay, unless it is "published" (removed) or "failed" (quarantined).
        """
        held = self._jobs.get(performance)
        if held is None:
            return
        with anyio.CancelScope(shield=True):
            async with held.lock:
                if self._jobs.get(performance) is not held:  # it was released while this waited for the lock
                    return
                await held.job.release_staging()
                if ended:
                    await self._clean_up(held.job, published=ended == PUBLISHED)
                await held.job.release_lease()
                del self._jobs[performance]
        self.changed.notify()

    async def forget(self, performance: Performance) -> None:
        """Remove what the spool has of a published performance, unless it is a job here."""
        if performance not in self._jobs:
            await self._clean_up(Job(performance), published=True)

    async def _clean_up(self, job: Job, *, published: bool) -> None:
        await cleanup(job, self.settings, published=published)
        if published:
            self.failed.discard(job.performance)
            return
        self.failed.add(job.performance)
        await limit_failed_files(self.settings, self._failed_among)

    async def _failed_among(self, performances: set[Performance]) -> set[Performance]:
        return performances & self.failed

    async def release_all(self) -> None:
        """End all jobs: the run is gone."""
        for performance in list(self._jobs):
            await self.release(performance)

    def progress(self, number: int, message: Mapping[str, Any]) -> Values | None:
        """Return how far a step is; None if its job is gone."""
        held = self._jobs.get(performance_from(message["performance"]))
        if held is None:
            return None
        progress = held.job.progress
        return {
            "number": number,
            "done_bytes": progress.done_bytes,
            "total_bytes": progress.total_bytes,
            "files": progress.files,
            "note": progress.note,
            "lacks_disk": progress.lacks_disk,
            "writes_output": held.is_extracting,
            "fetched_bytes": held.job.fetched_bytes - held.fetched_before,
        }

    def free_bytes(self) -> int:
        """Return the free bytes of the spool's disk."""
        return SystemDisk().space(self.settings.storage.temp_dir).free_bytes
