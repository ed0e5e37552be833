"""What the remotes have, and how a performance's files get into staging.

Several remotes are several accounts that see the same release. The first one is asked what there is. Each has
its own quota for a file, noted in the ledger, and its own rights; a file is asked from the first one that does
not refuse it, and waits only when all do.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Kind, Structure, remote_path
from rm360_async.download import spool
from rm360_async.download.rclone import Remote, RemoteFile
from rm360_async.download.throttle import Throttle
from rm360_async.ledger import Ledger
from rm360_async.pipeline.job import Job
from rm360_async.system.log import logger
from rm360_async.system.os_errors import writing

log = logger(__name__)
_ONE_ACCOUNT_ONLY = frozenset({Cause.NOT_FOUND, Cause.FORBIDDEN, Cause.ABUSIVE_FILE})
"""Refusals that another account may not get: it has other rights."""


class Downloader:
    """Look up and download the files of performances, resumably, from the first remote that lets us."""

    def __init__(
        self,
        remotes: Sequence[Remote],
        ledger: Ledger,
        temp_dir: Path,
        structure: Structure,
        throttle: Throttle,
        quota_wait: float,
    ) -> None:
        self.remotes, self.ledger, self.temp_dir = remotes, ledger, temp_dir
        self.structure, self.throttle, self.quota_wait = structure, throttle, quota_wait
        self.fetched_bytes = 0
        """Bytes that crossed the network in this run."""
        self._listed: dict[str, RemoteFile] = {}

    async def look_up(self, work: Job, kinds: Sequence[Kind]) -> None:
        """Fill in the sources of a performance as the remote has them now; an attempt to bring it in begins here."""
        work.fetched_bytes = 0
        for kind in kinds:
            path = remote_path(self.structure, work.performance, kind)
            async with self.admitted(work):
                listed = await self.remotes[0].stat(path)
            self._listed[path] = listed
            work.sources[kind] = listed.source()
        await self.ledger.record_listing({work.performance: list(work.sources.values())})

    async def fetch(self, work: Job) -> None:
        """Download what is not staged yet; fills `staged`, and the md5 of each source."""
        work.total_bytes = sum(source.size for source in work.sources.values())
        done = 0
        self.remove_outdated(work)
        for kind, whole in self.places(work).items():
            source = work.sources[kind]
            with writing(whole):
                there = whole.exists() or spool.restore(whole)
            if not there:
                md5 = await self._download(work, self._listed[source.path], whole, done)
                work.sources[kind] = replace(source, md5=md5)
            done += source.size
            work.done_bytes = done
            work.staged[kind] = whole

    def places(self, work: Job) -> dict[Kind, Path]:
        """Return the places of the whole staged files of a performance."""
        sources = work.sources.items()
        return {kind: spool.whole_path(self.temp_dir, work.performance, kind, source) for kind, source in sources}

    def remove_outdated(self, work: Job) -> None:
        """Remove what is staged of earlier selves of the remote's files."""
        for kind, whole in self.places(work).items():
            for stale in spool.outdated(self.temp_dir, work.performance, kind, whole):
                log.info("the remote's file has changed, starting over", performance=str(work.performance))
                with writing(stale):
                    spool.remove(stale)

    def listed_of(self, work: Job) -> dict[Kind, RemoteFile]:
        """Return the files of a performance as they were looked up."""
        return {kind: self._listed[source.path] for kind, source in work.sources.items()}

    def forget(self, work: Job) -> None:
        """Forget the files of a performance that has ended."""
        for source in work.sources.values():
            self._listed.pop(source.path, None)

    def count(self, work: Job, size: int) -> None:
        """Count bytes that have crossed the network."""
        work.fetched_bytes += size
        self.fetched_bytes += size

    async def _download(self, work: Job, listed: RemoteFile, whole: Path, before: int) -> str:
        refused: dict[str, Fault] = {}
        while True:
            remote = await self.next_remote([listed.path], refused)
            try:
                md5 = await self._ask(remote, work, listed, spool.part_path(whole), before)
            except Fault as fault:
                await self.judge(remote, listed, fault, refused)
                continue
            with writing(whole):
                await anyio.to_thread.run_sync(spool.commit_part, spool.part_path(whole), whole)
            return md5

    async def _ask(self, remote: Remote, work: Job, listed: RemoteFile, part: Path, before: int) -> str:
        async with self.admitted(work) as went_well:
            return await remote.fetch(listed, part, self._counting(work, part, before, went_well))

    def _counting(self, work: Job, part: Path, before: int, went_well: Callable[[], None]) -> Callable[[int], None]:
        """Return what notes the bytes of a part as it grows; `before` counts those of the performance's other file."""
        start = part.stat().st_size if part.exists() else 0

        def on_bytes(size: int) -> None:
            nonlocal start
            work.done_bytes = before + size
            if size > start:
                self.count(work, size - start)
                went_well()
            start = size  # smaller when the part had to be emptied

        return on_bytes

    @asynccontextmanager
    async def admitted(self, work: Job) -> AsyncIterator[Callable[[], None]]:
        """Wait until the throttle lets us; the work says why it waits."""
        work.note = self.throttle.reason
        async with self.throttle.admitted() as went_well:
            work.note = ""
            yield went_well

    async def judge(self, remote: Remote, listed: RemoteFile, fault: Fault, refused: dict[str, Fault]) -> None:
        """Note a refusal that is this account's own, so that the next one is asked; raise every other fault."""
        if fault.cause is Cause.FILE_QUOTA:
            await self.ledger.hints.record_quota(str(remote), listed.path, time.time() + self.quota_wait)
            log.warning("quota of this file is used up", remote=str(remote), file=listed.path)
        elif fault.cause in _ONE_ACCOUNT_ONLY and len(self.remotes) > 1:
            refused[str(remote)] = fault
            log.warning(str(fault), remote=str(remote))
        elif fault.cause is Cause.MISMATCH:
            raise await self._mismatch(listed, fault)
        else:
            raise fault

    async def _mismatch(self, listed: RemoteFile, fault: Fault) -> Fault:
        """Return the fault itself, or SOURCE_DIFFERS for the second of two that are equal.

        The message holds the md5 that arrived: the same wrong one twice is no accident of the line. It is kept
        in the ledger, because a file of hours may see a restart between the two.
        """
        key = f"mismatch {listed.path}"
        if await self.ledger.hints.get_meta(key) == fault.message:
            hint = "the listing of the remote is wrong, or the file is; tell its owner"
            return Fault(Cause.SOURCE_DIFFERS, f"{fault.message}, twice the same", hint)
        await self.ledger.hints.set_meta(key, fault.message)
        return fault

    async def next_remote(self, paths: Sequence[str], refused: dict[str, Fault]) -> Remote:
        """Return the first remote that refuses none of the files.

        When all do: Fault(FILE_QUOTA) until the first quota is given back, else the last refusal.
        """
        waits: list[tuple[float, str]] = []
        for remote in self.remotes:
            if str(remote) in refused:
                continue
            quotas = [(await self.ledger.hints.quota_until(str(remote), path), path) for path in paths]
            refusals = [(until, path) for until, path in quotas if until is not None]
            if not refusals:
                return remote
            waits.append(max(refusals))
        if not waits:
            raise list(refused.values())[-1]
        accounts = "its account" if len(self.remotes) == 1 else f"all {len(self.remotes)} accounts"
        until, path = min(waits)
        raise Fault(Cause.FILE_QUOTA, f"the download quota of {path} is used up for {accounts}", until=until)
