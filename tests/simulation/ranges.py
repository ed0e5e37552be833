"""Range downloads of the simulated world: fewer bytes of a file, in more requests, into a sparse file of that size."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rm360_async.domain.names import Kind
from rm360_async.download import spool
from rm360_async.download.account import Account
from rm360_async.download.downloader import Downloader
from rm360_async.download.range_downloader import RangeDownloader
from rm360_async.download.transfer import FileTransfer
from rm360_async.extraction.job import ExtractJob
from rm360_async.extraction.worker_client import WorkerLimits
from rm360_async.pipeline.job import Job
from simulation.remote import SimulatedRemote

if TYPE_CHECKING:
    from simulation.process import Process

_SHARE_NEEDED = 0.9
"""Of what is reserved in the spool: the real range worker learns the exact bytes from the index."""


class SimulatedRanges(RangeDownloader):
    """The real choice of an account and handling of refusals; the bytes come over the simulated line."""

    def __init__(self, process: Process, downloader: Downloader, limits: WorkerLimits) -> None:
        super().__init__(downloader, limits, ignore_cost=True)

    async def _from_account(
        self,
        account: Account,
        job: Job,
        extract_job: ExtractJob,
        transfers: dict[Kind, FileTransfer],
        on_success: Callable[[], None],
    ) -> None:
        remote = account.remote
        assert isinstance(remote, SimulatedRemote)
        share, done = min(1.0, _SHARE_NEEDED * job.spool_need / job.source_bytes), 0
        for kind, whole in job.spool_paths.items():
            file = job.remote_files[kind]
            counting = self._counting_from(job, done, on_success)
            done += await remote.download_ranges(
                file, spool.sparse_path(whole), max(1, int(file.size * share)), counting
            )

    def _counting_from(self, job: Job, before: int, on_success: Callable[[], None]) -> Callable[[int], None]:
        """Return what takes the size of a sparse file as it grows; `before` are the bytes of the job's other file."""
        start: int | None = None

        def on_bytes(size: int) -> None:
            nonlocal start
            job.progress.done_bytes = job.spooled_bytes = before + size
            if start is not None and size > start:
                self.downloader.count(job, size - start)
                on_success()
            start = size

        return on_bytes
