"""Build the stages of a run from its settings and the parts that it has opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from rm360_async.budget import Budget
from rm360_async.config import Settings
from rm360_async.domain.names import Performance
from rm360_async.domain.selection import FetchMode
from rm360_async.download import spool
from rm360_async.download.accounts import Accounts
from rm360_async.download.downloader import Downloader
from rm360_async.download.range_downloader import RangeDownloader
from rm360_async.extraction.worker_client import WorkerLimits, Workers
from rm360_async.pipeline.ports import SourceNotes
from rm360_async.stages.job_log import JobLog
from rm360_async.stages.remotes import retry_policy_of
from rm360_async.stages.reserve import evict_orphans
from rm360_async.stages.stages import Stages


def build_stages(
    settings: Settings,
    job_log: JobLog,
    notes: SourceNotes,
    accounts: Accounts,
    due_times: Callable[[], Mapping[Performance, float]],
    workers: Workers,
) -> Stages:
    """Return the stages with the real parts; starts nothing. `due_times`: see `evict_orphans`."""
    storage, limits = settings.storage, settings.limits
    budget = Budget(
        storage.temp_dir,
        storage.output_dir,
        limits.max_temp_bytes,
        limits.min_free_bytes,
        excluded_dirs=(storage.temp_dir / spool.QUARANTINE,),
        evict_orphans=partial(evict_orphans, due_times=due_times),
    )
    downloader, range_downloader = build_downloaders(settings, notes, accounts)
    return Stages(settings, job_log, downloader, range_downloader, budget, worker_limits_of(settings), workers)


def build_downloaders(settings: Settings, notes: SourceNotes, accounts: Accounts) -> tuple[Downloader, RangeDownloader]:
    """Return what downloads whole files, and what downloads ranges of them; starts nothing."""
    processing, structure = settings.processing, settings.google_drive.structure
    quota_wait = retry_policy_of(settings).quota_wait
    downloader = Downloader(accounts, notes, settings.storage.temp_dir, structure, quota_wait)
    ignore_cost = processing.fetch == FetchMode.RANGES.value
    return downloader, RangeDownloader(downloader, worker_limits_of(settings), ignore_cost)


def worker_limits_of(settings: Settings) -> WorkerLimits:
    """Return the memory and the time that the config gives an extraction."""
    processing = settings.processing
    return WorkerLimits(processing.worker_memory_bytes, processing.extraction_minutes * 60)
