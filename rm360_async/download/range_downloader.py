"""Download only the needed ranges of a job's files, or complete files of which ranges are on disk already.

The work itself is done by the range worker (see `ranges`) against an rclone that serves the remote. Here both are
started and watched, and a refusal gets its reason: the serving rclone has none to give, so the byte that was
refused is asked for once more by `cat`, whose error message is the best.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Kind
from rm360_async.domain.record import RemoteFile
from rm360_async.domain.selection import FetchMode
from rm360_async.domain.state import source_changed
from rm360_async.download import spool
from rm360_async.download.downloader import Downloader
from rm360_async.download.ranges.job import RangeFile, RangeJob
from rm360_async.download.ranges.worker_client import RangeWorkerClient
from rm360_async.download.rclone import RcloneServer, Remote, RequestQuota, StallPolicy
from rm360_async.extraction.job import ExtractJob
from rm360_async.extraction.worker_client import WorkerLimits
from rm360_async.pipeline.job import Job
from rm360_async.system.disk_threads import on_disk_thread, stop_if_cancelled
from rm360_async.system.fault_points import reach
from rm360_async.system.log import logger
from rm360_async.system.os_errors import os_errors, os_fault

log = logger(__name__)
MAX_REFUSALS = 3
"""Refusals in a row, without a byte in between, of ranges that `cat` does get: then the remote serves no ranges."""
_HASH_CHUNK_BYTES = 4 * 2**20


@dataclass
class RangesTooExpensive(Exception):
    """The leased bytes are not enough; `bytes` are needed in the spool, by that mode."""

    bytes: int
    mode: FetchMode


class _RangesUnsupported(Exception):
    """A remote serves a file but no ranges of it, or other ranges than were asked for."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"the remote does not serve ranges of {path} ({reason})")


class _FileRefused(Fault):
    """A fault of one file among several that are downloaded together."""

    def __init__(self, fault: Fault, file: RemoteFile) -> None:
        super().__init__(fault.cause, fault.message, fault.hint, until=fault.until)
        self.file = file


class RangeDownloader:
    """Download ranges, resumably, from the first remote that does not refuse."""

    def __init__(
        self, downloader: Downloader, stall_policy: StallPolicy, limits: WorkerLimits, ignore_cost: bool
    ) -> None:
        self.downloader, self.stall_policy, self.limits = downloader, stall_policy, limits
        self.ignore_cost = ignore_cost
        self._quotas = {str(remote): RequestQuota(downloader.throttle.full_width) for remote in downloader.remotes}

    async def download(self, job: Job, extract_job: ExtractJob) -> None:
        """Download what `extract_job` needs (or everything, in mode COMPLETE_SPARSE); fills `spooled`.

        Raises RangesTooExpensive when that is more than the lease is for, Fault as a whole download does.
        """
        reach("range download begun")
        await self.downloader.remove_outdated(job)
        await self._from_any_remote(job, extract_job)
        if job.fetch_mode is FetchMode.COMPLETE_SPARSE:
            await self._verify_and_commit(job)
            reach("sparse file filled")
        else:
            await self._require_unchanged(job)
            reach("source found unchanged")
            job.spooled = {kind: spool.sparse_path(whole) for kind, whole in job.spool_paths.items()}

    async def _from_any_remote(self, job: Job, extract_job: ExtractJob) -> None:
        refused: dict[str, Fault] = {}
        files = list(job.remote_files.values())
        while True:
            remote = await self.downloader.next_remote([file.path for file in files], refused)
            try:
                _require_unique_folders(files)
                async with self.downloader.admitted(job) as on_success:
                    await self._from_remote(remote, job, extract_job, on_success)
                    return
            except _RangesUnsupported as unsupported:
                log.warning(f"downloading {job.performance} whole: {unsupported}", remote=str(remote))
                for whole in job.spool_paths.values():
                    await on_disk_thread(spool.remove, spool.sparse_path(whole))
                raise RangesTooExpensive(job.source_bytes, FetchMode.WHOLE) from unsupported
            except Fault as fault:
                if fault.cause is Cause.RATE_LIMIT:
                    self._slow_down(remote)
                file = fault.file if isinstance(fault, _FileRefused) else files[0]
                await self.downloader.handle_refusal(remote, file, fault, refused)

    def _slow_down(self, remote: Remote) -> None:
        quota = self._quotas[str(remote)]
        quota.slow_down()
        log.info("asking for fewer ranges at once from now on", remote=str(remote), share=round(quota.share, 3))

    async def _from_remote(
        self, remote: Remote, job: Job, extract_job: ExtractJob, on_success: Callable[[], None]
    ) -> None:
        refusals, before, quota = 0, -1, self._quotas[str(remote)]
        files = {file.path: file for file in job.remote_files.values()}
        while True:
            async with remote.serve(quota.rate()) as server:
                range_job = await self._range_job(job, extract_job, server)
                client = await RangeWorkerClient.create(range_job, job, self._counting(job, on_success))
                outcome = await client.run(server.password, self.stall_policy, self.limits.deadline_seconds)
                reach("ranges downloaded")
            quota.record(outcome["requests"])
            if "refused" not in outcome:
                _conclude(outcome, job, range_job)
                return
            path, offset, message, rejected = outcome["refused"]
            log.info("a range was refused", file=path, offset=offset, message=message)
            fault = await remote.explain_refusal(files[path], offset)
            refusals = refusals + 1 if job.fetched_bytes == before else 1
            before = job.fetched_bytes
            if fault is not None:
                raise _FileRefused(fault, files[path])
            if refusals >= MAX_REFUSALS:
                raise _RangesUnsupported(path, message)
            if rejected:  # and served a moment later: too many at once
                self._slow_down(remote)

    def _counting(self, job: Job, on_success: Callable[[], None]) -> Callable[[int], None]:
        def on_bytes(size: int) -> None:
            self.downloader.count(job, size)
            on_success()

        return on_bytes

    async def _range_job(self, job: Job, extract_job: ExtractJob, server: RcloneServer) -> RangeJob:
        incomplete = await on_disk_thread(_incomplete, job.fetch_mode, dict(job.spool_paths))
        files = {
            kind: RangeFile(job.sources[kind].path, job.sources[kind].size, str(spool.sparse_path(whole)))
            for kind, whole in incomplete.items()
        }
        return RangeJob(
            _with_files(extract_job, files),
            files,
            server.port,
            server.user,
            job.spool_need,
            self.limits.memory_bytes,
            whole_files=job.fetch_mode is FetchMode.COMPLETE_SPARSE,
            ignore_cost=self.ignore_cost or extract_job.previous is not None,
        )

    async def _require_unchanged(self, job: Job) -> None:
        """Raise Fault(TRUNCATED) if the remote's files are others by now: no md5 would tell."""
        before = tuple(job.sources.values())
        now = tuple([(await self.downloader.stat(job, source.path)).source() for source in before])
        if source_changed(before, now):
            message = f"{job.performance} changed on the remote while it was downloaded; starting over"
            raise Fault(Cause.TRUNCATED, message)

    async def _verify_and_commit(self, job: Job) -> None:
        """Compare completed files with the remote's md5, and give them their whole names."""
        remote = self.downloader.remotes[0]
        incomplete = await on_disk_thread(_incomplete, job.fetch_mode, dict(job.spool_paths))
        for kind, whole in incomplete.items():
            sparse, source = spool.sparse_path(whole), job.sources[kind]
            wanted = source.md5 or (await self.downloader.stat(job, source.path, read=True)).md5
            with os_errors("read", sparse):
                md5 = await _md5(sparse)
            if wanted is not None and md5 != wanted:
                with os_errors("remove", sparse):
                    await on_disk_thread(spool.remove, sparse)
                message = f"{source.path}: the md5 of what arrived is {md5}, the remote lists {wanted}"
                fault = Fault(Cause.MISMATCH, message)
                await self.downloader.handle_refusal(remote, job.remote_files[kind], fault, {})
            with os_errors("write", whole):
                await on_disk_thread(spool.commit_part, sparse, whole)
            job.sources[kind] = replace(source, md5=md5)
        job.spooled = dict(job.spool_paths)


def _require_unique_folders(files: Sequence[RemoteFile]) -> None:
    """Raise _RangesUnsupported for a file to which no path leads: the serving rclone knows files by their paths."""
    for file in files:
        if file.folder is not None:
            raise _RangesUnsupported(file.path, f"the remote has several folders {file.folder.path}")


def _incomplete(mode: FetchMode, wholes: dict[Kind, Path]) -> dict[Kind, Path]:
    """Return the paths of the files that the mode has still to download.

    In mode COMPLETE_SPARSE a whole file is restored from the quarantine if it lies there.
    """
    if mode is FetchMode.RANGES:
        return wholes
    return {kind: whole for kind, whole in wholes.items() if not spool.is_whole(whole)}


def _conclude(outcome: Mapping[str, Any], job: Job, range_job: RangeJob) -> None:
    """Return if all ranges are here; raise what the worker's last line says otherwise."""
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
            whole = sum(file.size for file in range_job.files.values())
            raise RangesTooExpensive(whole, FetchMode.COMPLETE_SPARSE)
        raise RangesTooExpensive(size, FetchMode.RANGES)
    if "ranges_unsupported" in outcome:
        raise _RangesUnsupported(outcome["ranges_unsupported"], "other bytes came than were asked for")
    if "error" in outcome:
        number, message = outcome["error"]
        path = Path(next(iter(range_job.files.values())).local)
        raise os_fault(OSError(number, message), "write", path, "check storage.temp_dir", Cause.NOT_WRITABLE)
    word, message, hint = outcome["fault"]
    raise Fault(Cause.from_code(word), message, hint)


def _with_files(extract_job: ExtractJob, files: Mapping[Kind, RangeFile]) -> ExtractJob:
    paths = {kind: file.local for kind, file in files.items()}
    return replace(extract_job, raw=paths.get(Kind.RAW), anno=paths.get(Kind.ANNO))


async def _md5(path: Path) -> str:
    """Return the md5 of a file that is durable afterwards; a stop need not wait for all of it."""
    return await on_disk_thread(_md5_on_disk, path)


def _md5_on_disk(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_HASH_CHUNK_BYTES):
            digest.update(chunk)
            stop_if_cancelled()
        os.fsync(file.fileno())
    return digest.hexdigest()
