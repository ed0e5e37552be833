"""Download: the job's files arrive in the spool, by ranges or whole."""

from __future__ import annotations

import anyio

from rm360_async.budget import Budget
from rm360_async.config import Settings
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.selection import FetchMode
from rm360_async.download.downloader import Downloader
from rm360_async.download.range_downloader import RangeDownloader, RangesTooExpensive
from rm360_async.pipeline.job import Job
from rm360_async.stages.extract import make_extract_job
from rm360_async.stages.reserve import take_lease, until_below_floor
from rm360_async.system.exception_groups import unwraps_faults


async def download(
    job: Job, settings: Settings, budget: Budget, downloader: Downloader, range_downloader: RangeDownloader
) -> None:
    """Download what is not in the spool yet.

    If other programs fill the disk below its floor of free space, the download stops where it is: Fault(DISK_FULL).
    """
    message = ""
    with unwraps_faults():
        async with anyio.create_task_group() as tasks:

            async def watch_disk() -> None:
                nonlocal message
                message = await until_below_floor(budget)
                tasks.cancel_scope.cancel()

            tasks.start_soon(watch_disk)
            downloader.accounts.end_turn(job.performance)
            await _by_fetch_mode(job, settings, budget, downloader, range_downloader)
            tasks.cancel_scope.cancel()
    if message and not job.arrived:
        raise Fault(Cause.DISK_FULL, message)


async def _by_fetch_mode(
    job: Job, settings: Settings, budget: Budget, downloader: Downloader, range_downloader: RangeDownloader
) -> None:
    """Download by the job's mode; if that turns out too expensive, take the lease that the better one needs."""
    while job.fetch_mode is not FetchMode.WHOLE:
        try:
            job.progress.total_bytes = job.spool_need
            await range_downloader.download(job, make_extract_job(job, settings))
            return
        except RangesTooExpensive as expensive:
            job.fetch_mode, job.spool_need = expensive.mode, expensive.bytes
            job.needs_whole = job.fetch_mode is FetchMode.WHOLE
            await take_lease(job, budget, expensive.bytes)
    await downloader.download(job)
