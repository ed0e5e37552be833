"""Fetch only the wanted ranges of a performance's files, or fill up what ranges were begun with.

The work itself is done by the scout (see `ranges`) against an rclone that serves the remote. Here both are
started and watched, and a refusal gets its reason: the serving rclone has none to give, so the byte that was
refused is asked for once more by `cat`, whose words are the best.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anyio
from anyio.to_thread import run_sync

from rm360_async import staging
from rm360_async.catalog import Kind
from rm360_async.dialogue import converse, environment_of_child
from rm360_async.errors import Cause, Fault
from rm360_async.extract_job import ExtractJob
from rm360_async.logs import logger
from rm360_async.package import writing
from rm360_async.plan import source_changed
from rm360_async.ranges.order import PASSWORD, Order, RemoteFile
from rm360_async.ranges.prediction import Way
from rm360_async.rclone import Listed, Pace, Rate, Remote, Served, StallWatch, disk_fault
from rm360_async.service.fetching import Fetcher
from rm360_async.work import Work
from rm360_async.workers import WorkerLimits

log = logger(__name__)
_MOST_REFUSALS = 3
"""In a row without a byte in between, where `cat` gets what was refused: then the serving rclone is at fault."""
_CHUNK = 4 * 2**20


@dataclass
class TooDear(Exception):
    """The leased bytes will not do; `bytes` are needed in staging, by that way."""

    bytes: int
    way: Way


class _FileRefused(Fault):
    """A fault of one of the files, of several that are fetched together."""

    def __init__(self, fault: Fault, file: Listed) -> None:
        super().__init__(fault.cause, fault.message, fault.hint, until=fault.until)
        self.file = file


class Ranging:
    """Brings the ranges of performances in, resumably, from the first remote that lets us."""

    def __init__(self, fetcher: Fetcher, pace: Pace, limits: WorkerLimits, at_any_cost: bool) -> None:
        self.fetcher, self.pace, self.limits = fetcher, pace, limits
        self.at_any_cost = at_any_cost
        self._rates = {str(remote): Rate(1 / fetcher.throttle.full_width) for remote in fetcher.remotes}
        """Of each remote's requests, slower after each limit that it has told us of, or seems to."""

    async def fetch(self, work: Work, job: ExtractJob) -> None:
        """Fetch what the job needs (or all of it, where the work's way is FILL); fills `staged`.

        Raises TooDear when that is more than the lease is for, Fault as a whole download does.
        """
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
            except Fault as fault:
                if fault.cause is Cause.RATE_LIMIT:
                    self._slow_down(remote)
                file = fault.file if isinstance(fault, _FileRefused) else listed[paths[0]]
                await self.fetcher.judge(remote, file, fault, refused)
        if work.way is Way.FILL:
            await self._settle(work)
        else:
            await self._require_unchanged(work)
            work.staged = {kind: staging.sparse_path(whole) for kind, whole in self.fetcher.places(work).items()}

    def _slow_down(self, remote: Remote) -> None:
        rate = self._rates[str(remote)].slower()
        self._rates[str(remote)] = rate
        log.info("fewer ranges are asked for at once from now on", remote=str(remote), share=round(rate.share, 3))

    async def _from(
        self, remote: Remote, work: Work, job: ExtractJob, listed: Mapping[str, Listed], went_well: Any
    ) -> None:
        refusals, before = 0, -1
        while True:
            async with remote.serving(self._rates[str(remote)]) as served:
                order = self._order(work, job, served)
                said = await self._scout(order, served.password, work, went_well)
            if "refused" not in said:
                _conclude(said, work, order)
                return
            path, offset, words, unopened = said["refused"]
            log.info("a range was refused", file=path, offset=offset, words=words)
            fault = await remote.why(listed[path], offset)
            refusals = refusals + 1 if work.fetched_bytes == before else 1
            before = work.fetched_bytes
            if fault is not None or refusals >= _MOST_REFUSALS:
                fault = fault or Fault(Cause.SERVER_ERROR, f"ranges of {path} are refused: {words}")
                raise _FileRefused(fault, listed[path])
            if unopened:  # and let through a moment later: too many at once
                self._slow_down(remote)

    def _open(self, work: Work) -> dict[Kind, Path]:
        """Return the files that are not whole yet, by the places where they would be."""
        places = self.fetcher.places(work)
        if work.way is Way.RANGES:
            return places
        return {kind: whole for kind, whole in places.items() if not whole.exists() and not staging.take_back(whole)}

    def _order(self, work: Work, job: ExtractJob, served: Served) -> Order:
        files = {
            kind: RemoteFile(work.sources[kind].path, work.sources[kind].size, str(staging.sparse_path(whole)))
            for kind, whole in self._open(work).items()
        }
        return Order(
            _with_files(job, files),
            files,
            served.port,
            served.user,
            work.staging_bytes,
            self.limits.memory_bytes,
            whole=work.way is Way.FILL,
            at_any_cost=self.at_any_cost or job.base is not None,
        )

    async def _scout(self, order: Order, password: str, work: Work, went_well: Any) -> dict[str, Any]:
        """Run one scout to its end; return its last line. Raises Fault for a stall and for its death."""
        said: dict[str, Any] = {}
        counted, looking = 0, False
        begun = sum(_allocated(Path(file.local)) for file in order.files.values())

        def on_line(line: dict[str, Any]) -> None:
            nonlocal counted, looking
            looking = line.get("looking", looking)
            fetched = line["progress"][0] if "progress" in line else line.get("fetched", counted)
            if fetched > counted:
                self.fetcher.count(work, fetched - counted)
                counted = fetched
                went_well()
            work.done_bytes = begun + counted
            if "progress" not in line and "looking" not in line:
                said.update(line)

        command = [sys.executable, "-m", "rm360_async.ranges.scout", order.to_json()]
        env = {**environment_of_child(), PASSWORD: password}
        watch, stalled, looked = StallWatch(0, self.pace.silent_ticks, self.pace.trickle_ticks), "", 0.0
        code, errors = None, b""
        async with anyio.create_task_group() as tasks:

            async def look_on() -> None:
                nonlocal stalled, looked
                while not stalled and looked < self.limits.deadline_seconds:
                    await anyio.sleep(self.pace.tick_seconds)
                    if looking:  # at an index of any size; no byte is due meanwhile
                        looked += self.pace.tick_seconds
                    else:
                        stalled = watch.tick(counted)
                tasks.cancel_scope.cancel()

            tasks.start_soon(look_on)
            code, errors = await converse(command, env, on_line)
            tasks.cancel_scope.cancel()
        if stalled:
            raise Fault(Cause.STALL, f"fetching ranges of {work.performance}: {stalled}")
        if looked >= self.limits.deadline_seconds:
            minutes = f"{self.limits.deadline_seconds / 60:.3g} minutes"
            raise Fault(Cause.DEADLINE, f"the index of {work.performance} was not read within {minutes}")
        if not said:
            last = (errors.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            raise Fault(Cause.WORKER_DIED, f"the process that fetches {work.performance} ended with {code}: {last}")
        return said

    async def _require_unchanged(self, work: Work) -> None:
        """Raise Fault(TRUNCATED) when the remote's files are others by now: no md5 would tell."""
        before = tuple(work.sources.values())
        now = tuple([(await self.fetcher.remotes[0].stat(source.path)).source() for source in before])
        if source_changed(before, now):
            raise Fault(
                Cause.TRUNCATED, f"{work.performance} changed on the remote while it was fetched; starting over"
            )

    async def _settle(self, work: Work) -> None:
        """Compare files that were filled up with the remote's md5, and give them their whole names."""
        wholes = self.fetcher.places(
            work
        )  # their names have the md5 where the remote lists it, so not once it is known
        for kind, whole in self._open(work).items():
            sparse, source = staging.sparse_path(whole), work.sources[kind]
            wanted = source.md5 or (await self.fetcher.remotes[0].stat(source.path, read=True)).md5
            with writing(sparse):
                md5 = await _md5(sparse)
            if wanted is not None and md5 != wanted:
                with writing(sparse):
                    await run_sync(staging.remove, sparse)
                message = f"{source.path}: the md5 of what arrived is {md5}, the remote lists {wanted}"
                fault = Fault(Cause.MISMATCH, message)
                await self.fetcher.judge(self.fetcher.remotes[0], self.fetcher.listed_of(work)[kind], fault, {})
            with writing(whole):
                await run_sync(staging.settle_part, sparse, whole)
            work.sources[kind] = replace(source, md5=md5)
        work.staged = wholes


def _conclude(said: Mapping[str, Any], work: Work, order: Order) -> None:
    """Return when all is here; raise what the scout's last line says otherwise."""
    if "done" in said:
        log.info(f"ranges of {work.performance} are here", bytes=said["done"], requests=said["requests"])
        return
    if "dear" in said:
        size, requests = said["dear"]
        whole = sum(file.size for file in order.files.values())
        if said["too_dear"]:
            log.info(f"{work.performance} is fetched whole: ranges would be dearer", bytes=size, requests=requests)
            raise TooDear(whole, Way.FILL)
        raise TooDear(size, Way.RANGES)
    if "error" in said:
        number, words = said["error"]
        raise disk_fault(OSError(number, words), Path(next(iter(order.files.values())).local))
    word, message, hint = said["fault"]
    raise Fault(Cause.from_word(word), message, hint)


def _with_files(job: ExtractJob, files: Mapping[Kind, RemoteFile]) -> ExtractJob:
    paths = {kind: file.local for kind, file in files.items()}
    return replace(job, raw=paths.get(Kind.RAW), anno=paths.get(Kind.ANNO))


def _allocated(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_blocks * 512
    return 0


async def _md5(path: Path) -> str:
    """Return the md5 of a file that is then durable; a stop need not wait for all of it."""
    hashed = hashlib.md5(usedforsecurity=False)
    async with await anyio.open_file(path, "rb") as file:
        while chunk := await file.read(_CHUNK):
            await run_sync(hashed.update, chunk)
        await run_sync(os.fsync, file.wrapped.fileno())
    return hashed.hexdigest()
