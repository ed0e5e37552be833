"""The real parts behind the pipeline's protocols."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from rm360_async import staging
from rm360_async.budget import Budget, Shortage
from rm360_async.catalog import Kind, Performance, output_folder
from rm360_async.config import Settings
from rm360_async.errors import Cause, Fault
from rm360_async.extract import ExtractJob
from rm360_async.lifecycle import Stage
from rm360_async.logs import logger
from rm360_async.package import publish, remove_tree, staging_path
from rm360_async.pipeline import Work
from rm360_async.plan import Evidence, Row, Standing, standing
from rm360_async.record import EarlierRecord, Record
from rm360_async.service.books import LedgerBooks
from rm360_async.service.fetching import Fetcher
from rm360_async.service.planning import is_published
from rm360_async.workers import Workers

log = logger(__name__)
_FIRST_RATIO = 1.1
"""Output bytes per input byte before anything was learned: verbatim images, plus wav and npz of the audio."""
_BYTES_PER_FILE = 50_000
"""A careful guess of the mean size of an extracted file: small masks beside images of 280 KB."""


class RealCrew:
    """Look up, lease, fetch, extract, publish and clear, with the real remote, disk and children."""

    def __init__(
        self, settings: Settings, books: LedgerBooks, fetcher: Fetcher, budget: Budget, workers: Workers
    ) -> None:
        self.settings, self._books, self.fetcher, self.budget, self.workers = (
            settings,
            books,
            fetcher,
            budget,
            workers,
        )
        self._replace: set[Performance] = set()
        self._staging: dict[Performance, Path] = {}

    @property
    def books(self) -> LedgerBooks:
        """The ledger and the claims."""
        return self._books

    async def standing(self, work: Work, row: Row) -> Standing:
        """Return where the claimed performance stands by now: another instance may have ended it."""
        final = output_folder(self.settings.storage.output_dir, work.performance)
        published = is_published(self.settings.storage.output_dir, work.performance)
        place = standing(row, Evidence(EarlierRecord("") if published else None), time.time())
        if place.stage is Stage.PENDING and not row.forced and is_there(final):
            hint = "move it away, or use --force to replace it"
            raise Fault(Cause.IN_THE_WAY, f"{final} is there already, and is no published folder", hint)
        if row.forced:
            self._replace.add(work.performance)
        return place

    async def look_up(self, work: Work) -> None:
        """Fill in the sources as the remote has them now."""
        await self.fetcher.look_up(work)

    async def lease(self, work: Work) -> None:
        """Take the lease of bytes, in order; waits for room, and says so."""
        size = sum(source.size for source in work.sources.values())
        reason = self.budget.impossible(size)
        if reason is not None:
            raise Fault(Cause.TOO_LARGE, f"{work.performance} {reason}")
        ratio = await self.books.ledger.learned_ratio(self.kind_of(work.performance)) or _FIRST_RATIO
        wholes = [
            staging.whole_path(self.settings.storage.temp_dir, work.performance, kind, source)
            for kind, source in work.sources.items()
        ]
        work.lease = await self.budget.lease(
            str(work.performance),
            size,
            int(size * ratio),
            int(size * ratio) // _BYTES_PER_FILE,
            staged=[path for whole in wholes for path in (whole, staging.part_path(whole))],
            on_wait=self._waiting(work),
        )

    def _waiting(self, work: Work) -> Callable[[Shortage | None], None]:
        def on_wait(shortage: Shortage | None) -> None:
            work.note = str(shortage or "")
            if shortage is None:
                log.info("room again, going on", performance=str(work.performance))
                return
            log.warning(str(shortage), performance=str(work.performance))
            if shortage.stuck:
                self._make_room(shortage)

        return on_wait

    def _make_room(self, shortage: Shortage) -> None:
        """Give up parts of performances that nobody has in hand: nothing else would ever make room.

        A part never arrived whole, so no byte is lost that the remote does not have; whole files stay.
        """
        for path in shortage.leftovers:
            if path.suffix == ".part":
                log.warning("removed a part to make room; it is fetched again from its start", file=path.name)
                staging.remove(path)

    async def fetch(self, work: Work) -> None:
        """Download what is not staged yet."""
        await self.fetcher.fetch(work)

    async def extract(self, work: Work) -> Record:
        """Extract into a sealed staging folder, in a child; a failed one leaves nothing behind."""
        final = output_folder(self.settings.storage.output_dir, work.performance)
        target = staging_path(final, secrets.token_hex(4))
        self._staging[work.performance] = target
        work.total_bytes = sum(source.size for source in work.sources.values())

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
            if isinstance(error, Fault):
                raise bad_at_the_source(error, work) from error
            raise

    def _job(self, work: Work, target: Path) -> ExtractJob:
        wanted, processing = self.settings.extraction, self.settings.processing
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
        )

    async def publish(self, work: Work, record: Record) -> None:
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
            size = sum(source.size for source in work.sources.values())
            await self.books.ledger.learn(self.kind_of(work.performance), input_bytes=size, output_bytes=record.bytes)

    async def clear(self, work: Work, *, published: bool) -> None:
        """Remove (published) or set aside (failed) the whole staged files."""
        remove = published and self.settings.processing.delete_smc_after_extraction
        for path in work.staged.values():
            if path.exists():
                await run_sync(staging.remove if remove else staging.set_aside, path)
        work.staged.clear()

    def kind_of(self, performance: Performance) -> str:
        """Return the kind that output sizes are learned for, e.g. `single s`."""
        return f"{self.settings.google_drive.structure.value} {performance.family}"


def bad_at_the_source(fault: Fault, work: Work) -> Fault:
    """Return the fault with the right advice: a file whose md5 was compared is not mended by another download."""
    compared = all(source.md5 for source in work.sources.values())
    if fault.cause not in (Cause.UNREADABLE, Cause.DAMAGED) or not compared:
        return fault
    return Fault(fault.cause, fault.message, "size and md5 are the remote's, so it is bad there: tell its owner")


def is_there(path: Path) -> bool:
    """Tell whether anything stands under a name, a broken link included."""
    return os.path.lexists(path)


def remove_if_empty(folder: Path) -> None:
    """Remove a subject's folder in which nothing was published; one with anything in it stays."""
    try:
        folder.rmdir()
    except OSError:
        return
