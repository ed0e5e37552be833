"""Download only the needed ranges of a job's files.

Which they are is found out by a child process (see `ranges`); what it wants is downloaded into sparse files like
anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Kind
from rm360_async.domain.record import RemoteFile
from rm360_async.domain.selection import FetchMode
from rm360_async.domain.state import source_changed
from rm360_async.download import spool
from rm360_async.download.account import Account
from rm360_async.download.downloader import Downloader
from rm360_async.download.ranges.job import RangeJob
from rm360_async.download.ranges.worker_client import RangeWorkerClient
from rm360_async.download.segment_fetcher import RangesUnsupported
from rm360_async.download.transfer import FileTransfer, open_sparse
from rm360_async.extraction.job import ExtractJob
from rm360_async.extraction.worker_client import WorkerLimits
from rm360_async.pipeline.job import Job
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.fault_points import reach
from rm360_async.system.log import logger
from rm360_async.system.os_errors import os_fault

log = logger(__name__)
_HINT = "check storage.temp_dir"


@dataclass
class RangesTooExpensive(Exception):
    """The leased bytes are not enough; `bytes` are needed in the spool, by that mode."""

    bytes: int
    mode: FetchMode


class RangeDownloader:
    """Download ranges, resumably, from the first account that does not refuse."""

    def __init__(self, downloader: Downloader, limits: WorkerLimits, ignore_cost: bool) -> None:
        self.downloader, self.limits, self.ignore_cost = downloader, limits, ignore_cost

    async def download(self, job: Job, extract_job: ExtractJob) -> None:
        """Download what `extract_job` needs; fills `spooled`.

        Raises RangesTooExpensive when that is more than the lease is for, Fault as a whole download does.
        """
        reach("range download begun")
        await self.downloader.remove_outdated(job)
        await self._from_any_account(job, extract_job)
        await self._require_unchanged(job)
        reach("source found unchanged")
        job.spooled = {kind: spool.sparse_path(whole) for kind, whole in job.spool_paths.items()}

    async def _from_any_account(self, job: Job, extract_job: ExtractJob) -> None:
        refused: dict[str, Fault] = {}
        files = list(job.remote_files.values())
        while True:
            account = await self.downloader.next_account([file.path for file in files], refused)
            transfers: dict[Kind, FileTransfer] = {}
            try:
                async with self.downloader.admitted(job, account) as on_success:
                    await self._from_account(account, job, extract_job, transfers, on_success)
                    return
            except RangesUnsupported as unsupported:
                log.warning(f"downloading {job.performance} whole: {unsupported}", remote=str(account))
                for whole in job.spool_paths.values():
                    await on_disk_thread(spool.remove, spool.sparse_path(whole))
                raise RangesTooExpensive(job.source_bytes, FetchMode.WHOLE) from unsupported
            except Fault as fault:
                file = _refused_file(fault, transfers) or files[0]
                await self.downloader.handle_refusal(account, file, fault, refused)

    async def _from_account(
        self,
        account: Account,
        job: Job,
        extract_job: ExtractJob,
        transfers: dict[Kind, FileTransfer],
        on_success: Callable[[], None],
    ) -> None:
        range_job = self._range_job(job, extract_job)
        async with AsyncExitStack() as stack:
            for kind, path in range_job.files.items():
                # verified, because no md5 will be compared
                sparse = await stack.enter_async_context(open_sparse(Path(path), job.sources[kind].size, verify=True))
                _set_done(job, sparse.present.total)
                transfer = account.transfer(job.remote_files[kind], sparse, self._counting(job, on_success))
                transfers[kind] = await stack.enter_async_context(transfer)
            client = RangeWorkerClient(range_job, job.performance, transfers, account.connections)
            outcome = await client.run(self.limits.deadline_seconds)
            reach("ranges downloaded")
        _conclude(outcome, job, range_job)

    def _counting(self, job: Job, on_success: Callable[[], None]) -> Callable[[int], None]:
        def on_bytes(size: int) -> None:
            self.downloader.count(job, size)
            _set_done(job, size)
            on_success()

        return on_bytes

    def _range_job(self, job: Job, extract_job: ExtractJob) -> RangeJob:
        paths = {kind: str(spool.sparse_path(whole)) for kind, whole in job.spool_paths.items()}
        return RangeJob(
            replace(extract_job, raw=paths.get(Kind.RAW), anno=paths.get(Kind.ANNO)),
            job.spool_need,
            self.limits.memory_bytes,
            ignore_cost=self.ignore_cost or extract_job.previous is not None,
        )

    async def _require_unchanged(self, job: Job) -> None:
        """Raise Fault(TRUNCATED) if the remote's files are others by now: no md5 would tell."""
        before = tuple(job.sources.values())
        now = tuple([(await self.downloader.stat(job, source.path)).source() for source in before])
        if source_changed(before, now):
            message = f"{job.performance} changed on the remote while it was downloaded; starting over"
            raise Fault(Cause.TRUNCATED, message)


def _set_done(job: Job, more: int) -> None:
    job.spooled_bytes += more
    job.progress.done_bytes = job.spooled_bytes


def _refused_file(fault: Fault, transfers: Mapping[Kind, FileTransfer]) -> RemoteFile | None:
    """Return the file whose transfer a fault has ended."""
    return next((each.file for each in transfers.values() if each.fault is fault), None)


def _conclude(outcome: Mapping[str, Any], job: Job, range_job: RangeJob) -> None:
    """Return if all ranges are here; raise what the last message of the process says otherwise."""
    if "done" in outcome:
        log.info(f"ranges of {job.performance} are here", bytes=outcome["done"], requests=outcome["requests"])
        return
    if "too_expensive" in outcome:
        size, requests = outcome["too_expensive"]
        if outcome["whole_is_cheaper"]:
            log.info(
                f"downloading the whole files of {job.performance}: byte ranges would cost more",
                bytes=size,
                requests=requests,
            )
            raise RangesTooExpensive(job.source_bytes, FetchMode.WHOLE)
        raise RangesTooExpensive(size, FetchMode.RANGES)
    if "error" in outcome:
        number, message = outcome["error"]
        path = Path(next(iter(range_job.files.values())))
        raise os_fault(OSError(number, message), "read", path, _HINT, Cause.NOT_WRITABLE)
    word, message, hint = outcome["fault"]
    raise Fault(Cause.from_code(word), message, hint)
