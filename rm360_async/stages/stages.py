"""The stages of a job, in their order: lookup, reserve, download, extract, publish, cleanup.

`Stages` is what the pipeline calls; each stage is a file of this folder. A stage keeps nothing by performance: what
it learns of a job lies on the job.
"""

from __future__ import annotations

from dataclasses import dataclass

from rm360_async.budget import Budget
from rm360_async.config import Settings
from rm360_async.domain.clock import SYSTEM_CLOCK, Clock
from rm360_async.domain.formatting import size_text
from rm360_async.domain.node_state import NodeState
from rm360_async.domain.quota import is_quota_wait, with_quota_wait
from rm360_async.domain.record import Record
from rm360_async.domain.selection import SelectionPolicy
from rm360_async.domain.state import PerformanceRow, PlannedState
from rm360_async.download import spool
from rm360_async.download.accounts import MAX_DOWNLOADS
from rm360_async.download.downloader import Downloader
from rm360_async.download.range_downloader import RangeDownloader
from rm360_async.extraction.worker_client import WorkerLimits, Workers
from rm360_async.pipeline.job import Job
from rm360_async.pipeline.pipeline import Width
from rm360_async.stages.cleanup import cleanup
from rm360_async.stages.download import download
from rm360_async.stages.extract import extract
from rm360_async.stages.job_log import JobLog
from rm360_async.stages.lookup import look_up_sources, lookup
from rm360_async.stages.publish import publish
from rm360_async.stages.reserve import reserve, wait_for_space
from rm360_async.stages.retention import limit_quarantine
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.log import logger

log = logger(__name__)


@dataclass(frozen=True)
class Stages:
    """The stages with the real remote, disks, child processes and ledger."""

    settings: Settings
    job_log: JobLog
    downloader: Downloader
    range_downloader: RangeDownloader
    budget: Budget
    worker_limits: WorkerLimits
    workers: Workers
    clock: Clock = SYSTEM_CLOCK

    @property
    def policy(self) -> SelectionPolicy:
        """Return what the config wants of each performance."""
        return self.settings.selection_policy

    @property
    def fetched_bytes(self) -> int:
        """Return the bytes that crossed the network in this run."""
        return self.downloader.fetched_bytes

    @property
    def width(self) -> Width:
        """Return how many downloads and extractions run at once."""
        processing = self.settings.processing
        return Width(processing.downloads or MAX_DOWNLOADS, processing.worker_count)

    def line(self) -> tuple[int, str]:
        """Return how many connections request or receive something now, and what bounds the downloads."""
        accounts = self.downloader.accounts
        return accounts.open_connections, accounts.held_back_by

    def node_states(self) -> tuple[NodeState, ...]:
        """Return the nodes of a cluster; none: this machine works alone."""
        return ()

    async def wait_for_turn(self) -> None:
        """Return when the downloads can soon use another file."""
        await self.downloader.accounts.wait_for_turn()

    def begin_turn(self, job: Job) -> None:
        """Note that this is the job which has its turn."""
        self.downloader.accounts.begin_turn(job.performance)

    def end_turn(self, job: Job) -> None:
        """Note that a job brings no further download; does nothing once its download has begun."""
        self.downloader.accounts.end_turn(job.performance)

    async def lookup(self, job: Job, row: PerformanceRow) -> PlannedState:
        """Reconcile the claimed job with what is on disk; return the state that it is really in."""
        if is_quota_wait(row):  # another instance may have recorded it, which has other accounts
            quotas = await self.job_log.ledger.hints.quotas()
            row = with_quota_wait(row, quotas, map(str, self.downloader.accounts), self.clock.now())
        state = await lookup(job, row, self.settings, self.job_log, self.clock)
        log.debug(f"{job.performance}: found {row.stage.value}, is {state.stage.value}", reason=state.reason)
        return state

    async def look_up_sources(self, job: Job) -> None:
        """Fill in the remote's files (path, size, md5) as they are now."""
        await look_up_sources(job, self.policy, self.downloader, self.job_log)

    async def reserve(self, job: Job) -> None:
        """Take a lease of disk space, in order, or keep the one that still fits; waits for space."""
        ratios = await self.job_log.ledger.hints.ratios()
        await reserve(job, self.budget, ratios, self.policy.structure, self.settings.processing.fetch)
        log.debug(f"{job.performance}: reserved {size_text(job.spool_need)} in temp_dir", fetch=job.fetch_mode.value)

    async def wait_for_space(self, job: Job) -> None:
        """Wait until what the lease has still to write fits on the disks."""
        await wait_for_space(job, self.budget)

    async def download(self, job: Job) -> None:
        """Download what is not in the spool yet."""
        if "download" not in job.seconds:  # else it has downloaded all that lies there, and recorded it
            spooled = await on_disk_thread(spool.bytes_of, job.spool_paths.values())
            await self.job_log.record_spooled(job, spooled)
            self.job_log.log_start(job, spooled)
        await download(job, self.settings, self.budget, self.downloader, self.range_downloader)

    async def probe_workers(self) -> None:
        """Start a worker as an extraction does, with its limits. Raises Fault(NOT_STARTED)."""
        await self.workers.probe(self.worker_limits)

    async def extract(self, job: Job) -> Record:
        """Extract into a sealed staging folder, in a child process."""
        return await extract(job, self.settings, self.worker_limits, self.workers.extract)

    async def publish(self, job: Job, record: Record) -> None:
        """Make the folder appear under its final name, in one step, durably."""
        await publish(job, record, self.job_log, self.policy.structure)

    async def cleanup(self, job: Job, *, published: bool) -> None:
        """Remove (published) or quarantine (failed) the files in the spool; never raises."""
        await cleanup(job, self.settings, published=published)
        if not published:
            await limit_quarantine(self.settings, self.job_log.ledger)
