"""Reserve: how the files are downloaded, and the lease of disk space for that; who makes way if nothing fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import anyio

from rm360_async.budget import Budget, Lack, Lease, Shortage
from rm360_async.domain.clock import SYSTEM_CLOCK, Clock
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Performance, Structure
from rm360_async.domain.selection import FetchMode
from rm360_async.download import spool
from rm360_async.download.ranges.estimate import Estimate, estimate_sizes
from rm360_async.pipeline.job import Job
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.log import logger

log = logger(__name__)
_BLOCK_BYTES = 4096
"""Files take whole blocks of the disk; this is the size of one nearly everywhere."""
BYTES_PER_FILE = 50_000
"""A careful guess of the mean size of an extracted file: small masks beside images of 280 KB."""
_SOON_SECONDS = 3600.0
"""For so long space is waited for rather than freed by removing what would have to be downloaded again."""
OUTPUT_RATIO = 1.1
"""Output bytes per input byte before any was measured: verbatim images, plus wav and npz of the audio."""


def ratio_key(structure: Structure, performance: Performance) -> str:
    """Return the key that output ratios are stored under, e.g. `single s`."""
    return f"{structure.value} {performance.family}"


async def reserve(
    job: Job, budget: Budget, ratios: Mapping[str, float], structure: Structure, fetch_setting: str
) -> None:
    """Choose how to download, and take the lease for it (or keep the one that the job has, if it is enough).

    Waits for space, and says so. Raises Fault(TOO_LARGE) for what can never be leased.
    """
    output_bytes = await plan_download(job, ratios, structure, fetch_setting)
    await take_lease(job, budget, output_bytes)


async def plan_download(job: Job, ratios: Mapping[str, float], structure: Structure, fetch_setting: str) -> int:
    """Choose how to download, and with it the bytes of the spool; return the bytes of output to expect."""
    size = job.source_bytes
    estimate = estimate_sizes(structure, job.performance, job.selection, size, ratios)
    await on_disk_thread(choose_fetch_mode, job, estimate, fetch_setting)
    ratio = ratios.get(ratio_key(structure, job.performance), OUTPUT_RATIO)
    by_ranges = job.fetch_mode is FetchMode.RANGES
    return job.spool_need if by_ranges else max(int(size * ratio), estimate.range_bytes)


def choose_fetch_mode(job: Job, estimate: Estimate, fetch_setting: str) -> None:
    """Choose how to download, unless an attempt has found that out; either way goes on with what is on disk."""
    has_whole = any(path.exists() for whole in job.spool_paths.values() for path in spool.whole_paths(whole))
    is_whole = has_whole or job.needs_whole
    job.fetch_mode = FetchMode.WHOLE if is_whole else estimate.fetch_mode(fetch_setting)
    by_ranges = job.fetch_mode is FetchMode.RANGES
    needed = estimate.staging_bytes(fetch_setting) if by_ranges else estimate.whole_bytes
    job.spool_need = max(needed, job.spool_need if by_ranges else 0)


async def take_lease(job: Job, budget: Budget, output_bytes: int) -> None:
    """Take a lease of `spool_need`, or keep the one that the job has if it is for the same files and enough.

    `output_bytes` is what will be written, as far as can be known. A lease that is kept waits for space like one
    before an extraction.
    """
    paths = [path for whole in job.spool_paths.values() for path in spool.all_paths(whole)]
    needed = _on_disk(job, budget)
    lease = job.lease
    if isinstance(lease, Lease) and lease.spool_paths == paths and lease.ticket.staging_bytes >= needed:
        await wait_for_space(job, budget)
        return
    await job.release_lease()
    reason = await on_disk_thread(budget.explain_too_large, job.spool_need)
    if reason is not None:
        raise Fault(Cause.TOO_LARGE, f"{job.performance} {reason}", "raise or lower that limit, or add disk")
    job.lease = await budget.lease(
        str(job.performance),
        needed,
        output_bytes,
        output_bytes // BYTES_PER_FILE,
        spool_paths=paths,
        on_wait=reporting(job),
    )


def _on_disk(job: Job, budget: Budget) -> int:
    """Return the bytes that the job's files take on the disk, in whole blocks."""
    blocks = -(-job.spool_need // _BLOCK_BYTES) + len(job.sources) - 1
    return min(blocks * _BLOCK_BYTES, budget.limits.max_temp_bytes)


async def wait_for_space(job: Job, budget: Budget) -> None:
    """Wait until what the job's lease has still to write fits on the disks."""
    if isinstance(job.lease, Lease):
        await budget.wait_for_space(job.lease, on_wait=reporting(job))


async def until_below_floor(budget: Budget) -> str:
    """Wait until other programs have filled temp_dir's disk clearly below its floor of free space; return a message."""
    while True:
        message = await on_disk_thread(budget.below_floor)
        if message is not None:
            return message
        await anyio.sleep(budget.poll_seconds)


def reporting(job: Job) -> Callable[[Shortage | None], None]:
    """Return what keeps the job's note, and logs when a wait begins, changes its kind, and ends."""
    logged: tuple[Lack, bool] | None = None

    def on_wait(shortage: Shortage | None) -> None:
        nonlocal logged
        job.progress.note = str(shortage or "")
        job.progress.lacks_disk = shortage is not None and shortage.lack in (Lack.SPACE, Lack.INODES)
        if shortage is None:
            log.info("space available again, continuing", performance=str(job.performance))
        elif (shortage.lack, shortage.stuck) != logged:
            logged = shortage.lack, shortage.stuck
            log.warning(str(shortage), performance=str(job.performance))

    return on_wait


def evict_orphans(
    shortage: Shortage, due_times: Callable[[], Mapping[Performance, float]] = dict, clock: Clock = SYSTEM_CLOCK
) -> bool:
    """Remove spool files that no job uses, as many as it takes; return True if that was enough.

    Nothing else would ever free that space. A part never arrived whole, so it is removed, and no byte is lost that
    the remote does not have; a whole file is moved to the quarantine (which frees the budget, not the disk), and is
    restored when its job runs. If all of them would not be enough, nothing is touched.

    `due_times` returns when each performance that this run has still to do goes on (`Scheduler.due_times`). First go
    the files that this run does not need, parts before whole files, the oldest first; then those of what it needs, and
    of these last what is finished soonest. A wait that ends within an hour keeps its files: it is waited for, as
    what is new gives way to it then.
    """
    due = {name: at for each, at in due_times().items() for name in spool.stems_of(each)}
    orphans = [
        (path, taken)
        for path, taken in shortage.orphans
        if spool.is_spool_file(path) and not _is_finished_soon(due.get(spool.stem_of(path)), clock.now())
    ]
    if shortage.lack is not Lack.STAGING:
        orphans = [(path, taken) for path, taken in orphans if spool.is_unfinished(path)]
    if sum(taken for _, taken in orphans) < shortage.lacking:
        return False
    freed = 0
    for path, taken in sorted(orphans, key=lambda each: _eviction_rank(each[0], due)):
        if freed < shortage.lacking:
            _evict(path)
            freed += taken
    return True


def _is_finished_soon(due: float | None, now: float) -> bool:
    """Return True if a wait with that end is over, or will be soon; None and 0: nothing is waited for."""
    return due is not None and 0 < due <= now + _SOON_SECONDS


def _eviction_rank(path: Path, due: Mapping[str, float]) -> tuple[bool, float, bool, float]:
    """Return what sorts the orphans, the first to go first; `due` has the stems of the files that are needed."""
    stem = spool.stem_of(path)
    return stem in due, -due.get(stem, 0.0), not spool.is_unfinished(path), path.stat().st_mtime


def _evict(path: Path) -> None:
    if spool.is_unfinished(path):
        log.warning("removed an unfinished download to free space; it will start over", file=path.name)
        spool.remove(path)
    else:
        log.warning("moved a downloaded file to the quarantine to free space", file=path.name)
        spool.quarantine(path)
