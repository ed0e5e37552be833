"""Fetch only the wanted ranges of a performance's files, or fill up what ranges were begun with.

The work itself is done by the scout (see `ranges`) against an rclone that serves the remote. Here both are
started and watched, and a refusal gets its reason: the serving rclone has none to give, so the byte that was
refused is asked for once more by `cat`, whose words are the best.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
from anyio.to_thread import run_sync

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Kind
from rm360_async.domain.selection import FetchMode
from rm360_async.domain.state import source_changed
from rm360_async.download import spool
from rm360_async.download.downloader import Downloader
from rm360_async.download.ranges.job import RangeFile, RangeJob
from rm360_async.download.ranges.worker_client import RangeWorkerClient
from rm360_async.download.rclone import RcloneServer, Remote, RemoteFile, RequestQuota, StallPolicy, disk_fault
from rm360_async.extraction.job import ExtractJob
from rm360_async.extraction.pool import WorkerLimits
from rm360_async.pipeline.job import Job
from rm360_async.system.fault_points import reach
from rm360_async.system.log import logger
from rm360_async.system.os_errors import writing

log = logger(__name__)
_MOST_REFUSALS = 3
"""In a row without a byte in between, where `cat` gets what was refused: then the remote has no ranges for us."""
_CHUNK = 4 * 2**20


@dataclass
class RangesTooExpensive(Exception):
    """The leased bytes will not do; `bytes` are needed in staging, by that way."""

    bytes: int
    way: FetchMode


class _RangesUnsupported(Exception):
    """A remote that gives a file but no ranges of it, or others than were asked for."""

    def __init__(self, path: str, words: str) -> None:
        super().__init__(f"the remote gives no ranges of {path} ({words})")


class _FileRefused(Fault):
    """A fault of one of the files, of several that are fetched together."""

    def __init__(self, fault: Fault, file: RemoteFile) -> None:
        super().__init__(fault.cause, fault.message, fault.hint, until=fault.until)
        self.file = file


class RangeDownloader:
    """Brings the ranges of performances in, resumably, from the first remote that lets us."""

    def __init__(self, fetcher: Downloader, pace: StallPolicy, limits: WorkerLimits, ignore_cost: bool) -> None:
        self.fetcher, self.pace, self.limits = fetcher, pace, limits
        self.ignore_cost = ignore_cost
        self._allowances = {str(remote): RequestQuota(fetcher.throttle.full_width) for remote in fetcher.remotes}

    async def fetch(self, work: Job, job: ExtractJob) -> None:
        """Fetch what the job needs (or all of it, where the work's way is FILL); fills `staged`.

        Raises TooDear when that is more than the lease is for, Fault as a whole download does.
        """
        reach("range download begun")
        self.fetcher.remove_outdated(work)
        refused: dict[str, Fault] = {}
        paths = [source.path for source in work.sources.values()]
        listed = {each.path: each for each in self.fetcher.listed_of(work).values()}
        while True:
            remote = await self.fetcher.next_remote(paths, refused)
            try:
                async with self.fetcher.admitted(work) as went_well:
                    await self._from(remote, work, job, listed, went_well)
                    break
            except _RangesUnsupported as unsupported:
                log.warning(f"{work.performance} is fetched whole: {unsupported}", remote=str(remote))
                for whole in self.fetcher.places(work).values():
                    await run_sync(spool.remove, spool.sparse_path(whole))
                raise RangesTooExpensive(
                    sum(source.size for source in work.sources.values()), FetchMode.WHOLE
                ) from unsupported
            except Fault as fault:
                if fault.cause is Cause.RATE_LIMIT:
                    self._slow_down(remote)
                file = fault.file if isinstance(fault, _FileRefused) else listed[paths[0]]
                await self.fetcher.judge(remote, file, fault, refused)
        if work.way is FetchMode.COMPLETE_SPARSE:
            reach("sparse file filled")
            await self._settle(work)
        else:
            await self._require_unchanged(work)
            reach("source found unchanged")
            work.staged = {kind: spool.sparse_path(whole) for kind, whole in self.fetcher.places(work).items()}

    def _slow_down(self, remote: Remote) -> None:
        allowance = self._allowances[str(remote)]
        allowance.slow_down()
        log.info("fewer ranges are asked for at once from now on", remote=str(remote), share=round(allowance.share, 3))

    async def _from(
        self,
        remote: Remote,
        work: Job,
        job: ExtractJob,
        listed: Mapping[str, RemoteFile],
        went_well: Callable[[], None],
    ) -> None:
        refusals, before, allowance = 0, -1, self._allowances[str(remote)]
        while True:
            async with remote.serve(allowance.rate()) as served:
                order = self._order(work, job, served)
                scouting = RangeWorkerClient(order, work, self._counting(work, went_well))
                said = await scouting.run(served.password, self.pace, self.limits.deadline_seconds)
                reach("ranges downloaded")
            allowance.record(said["requests"])
            if "refused" not in said:
                _conclude(said, work, order)
                return
            path, offset, words, unopened = said["refused"]
            log.info("a range was refused", file=path, offset=offset, words=words)
            fault = await remote.explain_refusal(listed[path], offset)
            refusals = refusals + 1 if work.fetched_bytes == before else 1
            before = work.fetched_bytes
            if fault is not None:
                raise _FileRefused(fault, listed[path])
            if refusals >= _MOST_REFUSALS:
                raise _RangesUnsupported(path, words)
            if unopened:  # and let through a moment later: too many at once
                self._slow_down(remote)

    def _counting(self, work: Job, went_well: Callable[[], None]) -> Callable[[int], None]:
        def on_bytes(size: int) -> None:
            self.fetcher.count(work, size)
            went_well()

        return on_bytes

    def _open(self, work: Job) -> dict[Kind, Path]:
        """Return the files that are not whole yet, by the places where they would be."""
        places = self.fetcher.places(work)
        if work.way is FetchMode.RANGES:
            return places
        return {kind: whole for kind, whole in places.items() if not whole.exists() and not spool.restore(whole)}

    def _order(self, work: Job, job: ExtractJob, served: RcloneServer) -> RangeJob:
        files = {
            kind: RangeFile(work.sources[kind].path, work.sources[kind].size, str(spool.sparse_path(whole)))
            for kind, whole in self._open(work).items()
        }
        return RangeJob(
            _with_files(job, files),
            files,
            served.port,
            served.user,
            work.staging_bytes,
            self.limits.memory_bytes,
            whole_files=work.way is FetchMode.COMPLETE_SPARSE,
            ignore_cost=self.ignore_cost or job.base is not None,
        )

    async def _require_unchanged(self, work: Job) -> None:
        """Raise Fault(TRUNCATED) when the remote's files are others by now: no md5 would tell."""
        before = tuple(work.sources.values())
        now = tuple([(await self.fetcher.remotes[0].stat(source.path)).source() for source in before])
        if source_changed(before, now):
            raise Fault(
                Cause.TRUNCATED, f"{work.performance} changed on the remote while it was fetched; starting over"
            )

    async def _settle(self, work: Job) -> None:
        """Compare files that were filled up with the remote's md5, and give them their whole names."""
        # asked for first: the names are of what the remote lists, which may have no md5, and below it becomes known
        wholes = self.fetcher.places(work)
        for kind, whole in self._open(work).items():
            sparse, source = spool.sparse_path(whole), work.sources[kind]
            wanted = source.md5 or (await self.fetcher.remotes[0].stat(source.path, read=True)).md5
            with writing(sparse):
                md5 = await _md5(sparse)
            if wanted is not None and md5 != wanted:
                with writing(sparse):
                    await run_sync(spool.remove, sparse)
                message = f"{source.path}: the md5 of what arrived is {md5}, the remote lists {wanted}"
                fault = Fault(Cause.MISMATCH, message)
                await self.fetcher.judge(self.fetcher.remotes[0], self.fetcher.listed_of(work)[kind], fault, {})
            with writing(whole):
                await run_sync(spool.commit_part, sparse, whole)
            work.sources[kind] = replace(source, md5=md5)
        work.staged = wholes


def _conclude(said: Mapping[str, Any], work: Job, order: RangeJob) -> None:
    """Return when all is here; raise what the scout's last line says otherwise."""
    if "done" in said:
        log.info(f"ranges of {work.performance} are here", bytes=said["done"], requests=said["requests"])
        return
    if "too_expensive" in said:
        size, requests = said["too_expensive"]
        whole = sum(file.size for file in order.files.values())
        if said["whole_is_cheaper"]:
            log.info(f"{work.performance} is fetched whole: ranges would be dearer", bytes=size, requests=requests)
            raise RangesTooExpensive(whole, FetchMode.COMPLETE_SPARSE)
        raise RangesTooExpensive(size, FetchMode.RANGES)
    if "ranges_unsupported" in said:
        raise _RangesUnsupported(said["ranges_unsupported"], "other bytes came than were asked for")
    if "error" in said:
        number, words = said["error"]
        raise disk_fault(OSError(number, words), Path(next(iter(order.files.values())).local))
    word, message, hint = said["fault"]
    raise Fault(Cause.from_word(word), message, hint)


def _with_files(job: ExtractJob, files: Mapping[Kind, RangeFile]) -> ExtractJob:
    paths = {kind: file.local for kind, file in files.items()}
    return replace(job, raw=paths.get(Kind.RAW), anno=paths.get(Kind.ANNO))


async def _md5(path: Path) -> str:
    """Return the md5 of a file that is then durable; a stop need not wait for all of it."""
    hashed = hashlib.md5(usedforsecurity=False)
    async with await anyio.open_file(path, "rb") as file:
        while chunk := await file.read(_CHUNK):
            await run_sync(hashed.update, chunk)
        await run_sync(os.fsync, file.wrapped.fileno())
    return hashed.hexdigest()
