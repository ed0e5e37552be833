"""What the remotes have, and how a performance's files get into staging.

Several remotes are several accounts that see the same release. Each has its own quota for a file; a file is
asked from the first one that does not refuse it, and waits only when all do.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import anyio

from rm360_async import staging
from rm360_async.catalog import Kind, Structure, remote_path
from rm360_async.errors import Cause, Fault
from rm360_async.ledger import Ledger
from rm360_async.logs import logger
from rm360_async.pipeline import Work
from rm360_async.rclone import Listed, Remote
from rm360_async.throttle import Throttle

log = logger(__name__)


class Fetcher:
    """Look up and download the files of performances, resumably, from the first remote that lets us."""

    def __init__(
        self,
        remotes: Sequence[Remote],
        ledger: Ledger,
        temp_dir: Path,
        structure: Structure,
        kinds: Sequence[Kind],
        throttle: Throttle,
        quota_wait: float,
    ) -> None:
        self.remotes, self.ledger, self.temp_dir = remotes, ledger, temp_dir
        self.structure, self.kinds, self.throttle, self.quota_wait = structure, kinds, throttle, quota_wait
        self.fetched_bytes = 0
        """Bytes that crossed the network in this run."""
        self._listed: dict[str, Listed] = {}
        self._mismatches: dict[str, str] = {}

    async def look_up(self, work: Work) -> None:
        """Fill in the sources of a performance as the remote has them now."""
        for kind in self.kinds:
            path = remote_path(self.structure, work.performance, kind)
            async with self.throttle.admitted():
                listed = await self.remotes[0].stat(path)
            self._listed[path] = listed
            work.sources[kind] = listed.source()
        await self.ledger.listed({work.performance: list(work.sources.values())})

    async def fetch(self, work: Work) -> None:
        """Download what is not staged yet; fills `staged`, and the md5 of each source."""
        work.total_bytes = sum(source.size for source in work.sources.values())
        done = 0
        for kind, source in work.sources.items():
            whole = staging.whole_path(self.temp_dir, work.performance, kind, source)
            for stale in staging.outdated(self.temp_dir, work.performance, kind, whole):
                log.info("the remote's file has changed, starting over", performance=str(work.performance))
                staging.remove(stale)
            if not whole.exists() and not staging.take_back(whole):
                md5 = await self._download(work, self._listed[source.path], whole, done)
                work.sources[kind] = replace(source, md5=md5)
            done += source.size
            work.done_bytes = done
            work.staged[kind] = whole

    async def _download(self, work: Work, listed: Listed, whole: Path, before: int) -> str:
        part = staging.part_path(whole)
        start = part.stat().st_size if part.exists() else 0

        def on_bytes(size: int) -> None:
            nonlocal start
            work.done_bytes = before + size
            if size > start:
                work.fetched_bytes += size - start
                self.fetched_bytes += size - start
                self.throttle.went_well()
            start = size  # smaller when the part had to be emptied

        while True:
            remote = await self._next_remote(listed.path)
            try:
                async with self.throttle.admitted():
                    md5 = await remote.fetch(listed, part, on_bytes)
            except Fault as fault:
                await self._judge(remote, listed, fault)
                continue
            await anyio.to_thread.run_sync(staging.settle_part, part, whole)
            self._mismatches.pop(listed.path, None)
            return md5

    async def _judge(self, remote: Remote, listed: Listed, fault: Fault) -> None:
        """Note a quota and let the next remote try; raise every other fault."""
        if fault.cause is Cause.FILE_QUOTA:
            until = time.time() + self.quota_wait
            await self.ledger.note_quota(str(remote), listed.path, until)
            log.warning("quota of this file is used up", remote=str(remote), file=listed.path)
            return
        if fault.cause is Cause.MISMATCH:
            # The message holds the md5 that arrived: the same wrong one twice is no accident of the line.
            if self._mismatches.get(listed.path) == fault.message:
                hint = "the listing of the remote is wrong, or the file is; tell its owner"
                raise Fault(Cause.SOURCE_DIFFERS, f"{fault.message}, twice the same", hint)
            self._mismatches[listed.path] = fault.message
        raise fault

    async def _next_remote(self, path: str) -> Remote:
        """Return the first remote that does not refuse the file; Fault(FILE_QUOTA) until one does not."""
        untils = []
        for remote in self.remotes:
            until = await self.ledger.quota(str(remote), path)
            if until is None:
                return remote
            untils.append(until)
        accounts = "its account" if len(self.remotes) == 1 else f"all {len(self.remotes)} accounts"
        raise Fault(Cause.FILE_QUOTA, f"the download quota of {path} is used up for {accounts}", until=min(untils))
