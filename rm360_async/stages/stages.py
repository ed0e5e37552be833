"""The real parts behind the pipeline's protocols."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from rm360_async.budget import Budget
from rm360_async.config import Settings
from rm360_async.domain.errors import Cause, Fault, fault_in
from rm360_async.domain.names import Kind, Performance, Structure, output_folder
from rm360_async.domain.record import Record
from rm360_async.domain.selection import Adding, FetchMode, SelectionPolicy
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import Observed, PerformanceRow, PlannedState, decide_state
from rm360_async.download import spool
from rm360_async.download.downloader import Downloader
from rm360_async.download.range_downloader import RangeDownloader, RangesTooExpensive
from rm360_async.download.ranges.estimate import Estimate, estimate_sizes, full_sizes
from rm360_async.extraction.job import ExtractJob
from rm360_async.extraction.pool import Workers
from rm360_async.ledger import adopt_some
from rm360_async.pipeline.job import Job
from rm360_async.stages.job_log import JobLog
from rm360_async.stages.reserve import FIRST_RATIO, Leasing
from rm360_async.store import is_marked_damaged, remove_tree, staging_path
from rm360_async.store.marker import record_of
from rm360_async.store.publish import publish
from rm360_async.system.fault_points import reach
from rm360_async.system.linux import is_there
from rm360_async.system.log import logger
from rm360_async.system.os_errors import writing

log = logger(__name__)


class Stages:
    """Look up, lease, fetch, extract, publish and clear, with the real remote, disk and children."""

    def __init__(
        self,
        settings: Settings,
        books: JobLog,
        fetcher: Downloader,
        ranging: RangeDownloader,
        budget: Budget,
        workers: Workers,
    ) -> None:
        self.settings, self._books, self.fetcher, self.budget, self.workers = (
            settings,
            books,
            fetcher,
            budget,
            workers,
        )
        self.leasing = Leasing(budget, settings.storage.temp_dir)
        self.ranging = ranging
        self.adding = Adding(SelectionPolicy(settings))
        self._replace: set[Performance] = set()
        self._staging: dict[Performance, Path] = {}

    @property
    def books(self) -> JobLog:
        """The ledger and the claims."""
        return self._books

    async def lookup(self, work: Job, row: PerformanceRow) -> PlannedState:
        """Return where the claimed performance stands by now: another instance may have ended it, or died on it.

        With the claim in our hand, whatever staging folder it has belongs to nobody alive, and is removed.
        """
        final = output_folder(self.settings.storage.output_dir, work.performance)
        await run_sync(_sweep, final)
        record = await run_sync(record_of, final)
        incomplete = self.adding.wanted.lacking(work.performance, record)
        place = decide_state(row, Observed(record, incomplete=incomplete), time.time())
        if place.stage is Stage.COMPLETED:
            await self._tidy(work, row)
        if row.stage is Stage.DOWNLOAD_FAILED:  # pending when this run began: another instance has just tried
            return PlannedState(row.stage, row.cause, row.reason)
        replace = row.forced or is_marked_damaged(final)
        if incomplete and isinstance(record, Record) and not replace:
            self.adding.begin(work.performance, record)
            replace = True
        if place.stage is Stage.PENDING and not replace and is_there(final):
            hint = "move it away, or use --force to replace it"
            raise Fault(Cause.IN_THE_WAY, f"{final} is there already, and is no published folder", hint)
        if replace:
            self._replace.add(work.performance)
        return place

    async def _tidy(self, work: Job, row: PerformanceRow) -> None:
        """Do what a killed instance could not do any more after it had published."""
        if row.stage is not Stage.COMPLETED:
            log.info(f"{work.performance} was published by a run that was killed")
            found = await adopt_some(self.settings.storage.output_dir, [work.performance])
            await self.books.ledger.import_rows(found.rows)
            for problem in found.problems:
                log.warning(problem)
        await self.books.ledger.attempts.interrupt(work.performance)
        await self.clear(work, published=True)

    async def look_up(self, work: Job) -> None:
        """Fill in the sources as the remote has them now; a folder that came from others is not added to."""
        await self.fetcher.look_up(work, self.adding.kinds(work.performance))
        self.adding.looked_up(work.performance, tuple(work.sources.values()))

    async def lease(self, work: Job) -> None:
        """Take the lease of bytes, in order, or keep the one that it has if it fits; waits for room, and says so."""
        size = sum(source.size for source in work.sources.values())
        learned = await self.books.ledger.hints.ratios()
        found = estimate_sizes(
            self._structure, work.performance, self.adding.selection(work.performance), size, learned
        )
        self._choose_way(work, found)
        ratio = learned.get(self.kind_of(work.performance), FIRST_RATIO)
        output = work.staging_bytes if work.way is FetchMode.RANGES else max(int(size * ratio), found.range_bytes)
        await self.leasing.lease(work, output)

    def _choose_way(self, work: Job, found: Estimate) -> None:
        """Choose how to fetch, unless that was found out before; what is on disk already is gone on with."""
        places = self.fetcher.places(work).values()
        whole = any(path.exists() for each in places for path in spool.whole_places(each))
        sparse = any(spool.sparse_path(each).exists() for each in places)
        wish = self.settings.processing.fetch
        if whole:
            work.way = FetchMode.COMPLETE_SPARSE if sparse else FetchMode.WHOLE
        elif work.way is not FetchMode.COMPLETE_SPARSE:
            work.way = found.fetch_mode(wish)
            if work.way is FetchMode.WHOLE and sparse:
                work.way = FetchMode.COMPLETE_SPARSE
        predicted = found.staging_bytes(wish) if work.way is FetchMode.RANGES else found.whole_bytes
        work.staging_bytes = max(predicted, work.staging_bytes if work.way is FetchMode.RANGES else 0)

    @property
    def _structure(self) -> Structure:
        return self.settings.google_drive.structure

    async def room(self, work: Job) -> None:
        """Wait until what the lease has still to write fits on the disks, and say so."""
        await self.leasing.room(work)

    async def fetch(self, work: Job) -> None:
        """Download what is not staged yet; below the floor of free space it stops where it is, Fault(DISK_FULL)."""
        low = ""
        try:
            async with anyio.create_task_group() as tasks:

                async def watch() -> None:
                    nonlocal low
                    low = await self.leasing.until_low()
                    tasks.cancel_scope.cancel()

                tasks.start_soon(watch)
                await self._bring(work)
                tasks.cancel_scope.cancel()
        except Exception as error:
            raise fault_in(error) or error from error  # out of the group that the tasks wrap it in
        if low and not work.arrived:
            raise Fault(Cause.DISK_FULL, low)

    async def _bring(self, work: Job) -> None:
        """Fetch by the work's way; where that turns out too dear, take the lease that the better one needs."""
        while work.way is not FetchMode.WHOLE:
            try:
                work.total_bytes = work.staging_bytes
                await self.ranging.fetch(work, self._job(work, Path()))
                return
            except RangesTooExpensive as dear:
                work.way, work.staging_bytes = dear.way, dear.bytes
                await self.leasing.lease(work, dear.bytes)
        await self.fetcher.fetch(work)

    async def extract(self, work: Job) -> Record:
        """Extract into a sealed staging folder, in a child; a failed one leaves nothing behind."""
        final = output_folder(self.settings.storage.output_dir, work.performance)
        target = staging_path(final, secrets.token_hex(4))
        self._staging[work.performance] = target
        reach("ready to extract")
        work.total_bytes = work.staging_bytes

        def on_progress(files: int, size: int) -> None:
            work.files, work.done_bytes = files, size
            if work.lease is not None:
                work.lease.wrote(size, files)

        try:
            return await self.workers.extract(self._job(work, target), on_progress)
        except BaseException as error:
            with anyio.CancelScope(shield=True):
                await run_sync(remove_tree, target)
                await run_sync(remove_if_empty, target.parent)
            on_progress(0, 0)
            if isinstance(error, Fault) and error.cause is Cause.NOT_FETCHED:
                log.warning(f"{error}; the whole is fetched")
                work.way = FetchMode.COMPLETE_SPARSE
                work.staged.clear()
            if isinstance(error, Fault):
                raise bad_at_the_source(error, work) from error
            raise

    def _job(self, work: Job, target: Path) -> ExtractJob:
        wanted, processing = self.adding.selection(work.performance), self.settings.processing
        paths = {kind: str(path) for kind, path in work.staged.items()}
        return ExtractJob(
            performance=work.performance,
            raw=paths.get(Kind.RAW),
            anno=paths.get(Kind.ANNO),
            sources=tuple(work.sources.values()),
            staging=str(target),
            cameras=wanted.cameras,
            modalities=tuple(modality.value for modality in wanted.modalities),
            damaged=processing.damaged,
            verify=processing.verify_extraction,
            fetched=(FetchMode.RANGES if work.way is FetchMode.RANGES else FetchMode.WHOLE).value,
            base=str(output_folder(self.settings.storage.output_dir, work.performance)) if wanted.completes else None,
        )

    async def publish(self, work: Job, record: Record) -> None:
        """Make the folder appear under its final name, in one step, durably."""
        final = output_folder(self.settings.storage.output_dir, work.performance)
        target = self._staging.pop(work.performance)
        replace = work.performance in self._replace
        with anyio.CancelScope(shield=True):  # a rename that happened must be noted
            try:
                await run_sync(publish, target, final, replace)
            except Fault:
                await run_sync(remove_tree, target)
                raise
            self.adding.end(work.performance)
            await self._learn(work, record)

    async def _learn(self, work: Job, record: Record) -> None:
        size = sum(source.size for source in work.sources.values())
        try:
            await self.books.ledger.hints.record_ratio(
                self.kind_of(work.performance), input_bytes=size, output_bytes=record.bytes
            )
            for key, of_all in full_sizes(self._structure, work.performance, record).items():
                await self.books.ledger.hints.record_ratio(key, input_bytes=size, output_bytes=of_all)
        except Fault as fault:  # only a guess of the next lease: never a reason to fail what is published
            log.warning(f"the size of {work.performance} could not be learned: {fault}")

    async def clear(self, work: Job, *, published: bool) -> None:
        """Remove (published) or set aside (failed) the whole staged files; what cannot be moved is told and stays.

        Of a published performance nothing at all is left, whatever way its bytes had come before a kill.
        """
        staged = self._staged(work) if published else list(work.staged.values())
        for path in staged:
            await self._put_away(path, remove=published and self._removes)
        work.staged.clear()
        self.fetcher.forget(work)

    def _staged(self, work: Job) -> list[Path]:
        temp_dir = self.settings.storage.temp_dir
        return [path for kind in Kind for path in spool.staged(temp_dir, work.performance, kind)]

    @property
    def _removes(self) -> bool:
        return self.settings.processing.delete_smc_after_extraction

    async def _put_away(self, path: Path, *, remove: bool) -> None:
        try:
            with writing(path):
                if await anyio.Path(path).exists():
                    remove = remove or spool.is_part(path)  # a part of a file is nobody's to keep
                    await run_sync(spool.remove if remove else spool.quarantine, path)
        except Fault as fault:
            log.warning(f"a staged file stays where it is: {fault}", file=path.name)

    def kind_of(self, performance: Performance) -> str:
        """Return the kind that output sizes are learned for, e.g. `single s`."""
        return f"{self.settings.google_drive.structure.value} {performance.family}"


def bad_at_the_source(fault: Fault, work: Job) -> Fault:
    """Return the fault with the right advice: a file whose md5 was compared is not mended by another download."""
    compared = work.way is not FetchMode.RANGES and all(source.md5 for source in work.sources.values())
    if fault.cause not in (Cause.UNREADABLE, Cause.DAMAGED) or not compared:
        return fault
    return Fault(fault.cause, fault.message, "size and md5 are the remote's, so it is bad there: tell its owner")


def remove_if_empty(folder: Path) -> None:
    """Remove a subject's folder in which nothing was published; one with anything in it stays."""
    try:
        folder.rmdir()
    except OSError:
        return


def _sweep(final: Path) -> None:
    for left in final.parent.glob(staging_path(final, "*").name):
        log.info("removing what an interrupted extraction left", folder=str(left))
        remove_tree(left)
