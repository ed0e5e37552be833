"""The pipeline: downloaders fill, a queue bounded in bytes of disk carries, extractors empty.

Theory of operation. A downloader takes the next performance from the agenda, claims it, takes a lease of
bytes in FIFO order, and downloads. The downloaded performance goes into a queue that has no bound of its
own: its bound is the lease that each item holds, so the queue is sized in bytes of disk and not in items.
An extractor takes it out, has it extracted in a child process, publishes, writes the ledger, removes the
.smc, and only then gives lease and claim back.

Every failure ends in `_settle`, which asks `plan.after_fault` what follows and puts the performance back
into the agenda; so nothing leaves the books. A failure that stops the service is raised after that.
This room knows no rclone, SQL or HDF5: the parts are behind the small protocols below.
"""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from rm360_async.agenda import Agenda
from rm360_async.catalog import Kind, Performance
from rm360_async.errors import Fault
from rm360_async.lifecycle import Stage
from rm360_async.plan import RetryRules, Row, Standing, Verdict, after_fault
from rm360_async.record import Record, SourceFile


class Lease(Protocol):
    """Bytes of disk that are ours until given back."""

    def wrote(self, output_bytes: int, output_files: int) -> None:
        """Tell how much of the output lies on disk by now."""

    def give_back(self) -> None:
        """Return the bytes to the budget."""


@dataclass
class Work:
    """One performance in hand: the only mutable state that travels through the pipeline."""

    performance: Performance
    stage: Stage = Stage.DOWNLOADING
    since: float = field(default_factory=time.monotonic)
    done_bytes: int = 0
    total_bytes: int = 0
    fetched_bytes: int = 0
    """Bytes that crossed the network in this attempt."""
    files: int = 0
    note: str = ""
    sources: dict[Kind, SourceFile] = field(default_factory=dict)
    staged: dict[Kind, Path] = field(default_factory=dict)
    lease: Lease | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def enter(self, stage: Stage) -> None:
        """Go to the next stage; its clock starts."""
        self.stage, self.since, self.done_bytes, self.total_bytes, self.note = stage, time.monotonic(), 0, 0, ""


class Books(Protocol):
    """The ledger and the claims."""

    async def take(self, performance: Performance) -> Row | None:
        """Claim a performance and return its row; None when another instance has it in hand."""

    async def enter(self, work: Work) -> None:
        """Note the stage that the work is in."""

    async def settle(self, work: Work, verdict: Verdict, fault: Fault) -> None:
        """Note a failure and what follows from it."""

    async def completed(self, work: Work, record: Record) -> None:
        """Note a published performance."""

    async def row(self, performance: Performance) -> Row:
        """Return the row as it stands now."""

    async def release(self, performance: Performance) -> None:
        """Give the claim back."""


class Crew(Protocol):
    """The parts that do the work; each raises Fault and nothing else for what the world does to it."""

    @property
    def books(self) -> Books:
        """The ledger and the claims."""

    async def look_up(self, work: Work) -> None:
        """Fill in the sources (path, size, md5) as the remote has them now."""

    async def lease(self, work: Work) -> None:
        """Take the lease of bytes, in order; waits for room."""

    async def fetch(self, work: Work) -> None:
        """Download what is not staged yet; fills `staged` with whole, compared files."""

    async def extract(self, work: Work) -> Record:
        """Extract into a sealed staging folder."""

    async def publish(self, work: Work, record: Record) -> None:
        """Make the folder appear under its final name, in one step, durably."""

    async def clear(self, work: Work, *, published: bool) -> None:
        """Remove (published) or set aside (failed) the whole staged files."""

    async def standing(self, work: Work, row: Row) -> Standing:
        """Return where the claimed performance stands by now: another instance may have ended it."""


@dataclass(frozen=True)
class Width:
    """How many downloads and extractions run at once."""

    downloads: int = 2
    workers: int = 2


async def run(
    agenda: Agenda, crew: Crew, width: Width, rules: RetryRules, hand: dict[Performance, Work] | None = None
) -> None:
    """Work until the agenda has nothing more to hand out; raises the Fault that stops the service.

    `hand` is kept filled with the work in hand, for onlookers.
    """
    send, receive = anyio.create_memory_object_stream[Work](math.inf)
    line = _Line(agenda, crew, rules, send, {} if hand is None else hand)
    with receive:
        try:
            async with anyio.create_task_group() as extractors:
                for _ in range(width.workers):
                    extractors.start_soon(line.extract, receive)
                with send:  # closed once nothing more can come, which ends the extractors
                    await line.bring_in(width.downloads)
        finally:
            await line.leave_queued(receive)


class _Line:
    """The two loops, and the one place where failures are settled."""

    def __init__(
        self,
        agenda: Agenda,
        crew: Crew,
        rules: RetryRules,
        queue: MemoryObjectSendStream[Work],
        hand: dict[Performance, Work],
    ) -> None:
        self.agenda, self.crew, self.rules, self.queue, self.hand = agenda, crew, rules, queue, hand
        self.repeats: TaskGroup | None = None

    async def bring_in(self, downloads: int) -> None:
        """Download until the agenda ends; extractions that are to be repeated come back from here too."""
        async with anyio.create_task_group() as repeats:
            self.repeats = repeats
            repeats.start_soon(self._stop_when_draining, repeats.cancel_scope)
            async with anyio.create_task_group() as downloaders:
                for _ in range(downloads):
                    downloaders.start_soon(self.download)
            repeats.cancel_scope.cancel()

    async def _stop_when_draining(self, scope: anyio.CancelScope) -> None:
        await self.agenda.drained.wait()
        scope.cancel()

    async def download(self) -> None:
        """Take performances one after another until none is left, and pass on what has arrived."""
        while (performance := await self.agenda.next()) is not None:
            row = await self.crew.books.take(performance)
            if row is None:
                self.agenda.leave_elsewhere(performance)
                continue
            work = self.hand[performance] = Work(performance)
            if await self._arrives(work, row):
                self.queue.send_nowait(work)

    async def _arrives(self, work: Work, row: Row) -> bool:
        """Bring one performance in; True when it is whole on disk and now belongs to the queue."""
        try:
            standing = await self.crew.standing(work, row)
            if standing.stage is not Stage.PENDING:
                await self._end(work, standing)
                return False
            await self.crew.books.enter(work)
            await self.crew.look_up(work)
            await self.crew.lease(work)
            with timed(work, "download"):
                await self.crew.fetch(work)
            work.enter(Stage.DOWNLOADED)
            await self.crew.books.enter(work)
        except Fault as fault:
            await self._settle(work, fault)
            return False
        except BaseException:
            await self._let_go(work)
            raise
        return True

    async def extract(self, receive: MemoryObjectReceiveStream[Work]) -> None:
        """Extract and publish what comes out of the queue until it is empty and closed."""
        async for work in receive:
            if self.agenda.draining:
                await self._let_go(work)
            else:
                await self._publishes(work)

    async def leave_queued(self, receive: MemoryObjectReceiveStream[Work]) -> None:
        """Let go of what a stop found in the queue."""
        while True:
            try:
                work = receive.receive_nowait()
            except (anyio.WouldBlock, anyio.EndOfStream):
                return
            await self._let_go(work)

    async def _publishes(self, work: Work) -> None:
        try:
            work.enter(Stage.EXTRACTING)
            await self.crew.books.enter(work)
            with timed(work, "extract"):
                record = await self.crew.extract(work)
            work.enter(Stage.PUBLISHING)
            await self.crew.books.enter(work)
            with timed(work, "publish"):
                await self.crew.publish(work, record)
            await self.crew.books.completed(work, record)
            await self.crew.clear(work, published=True)
            await self._end(work, Standing(Stage.COMPLETED))
        except Fault as fault:
            await self._settle(work, fault)
        except BaseException:
            await self._let_go(work)
            raise

    async def _settle(self, work: Work, fault: Fault) -> None:
        row = await self.crew.books.row(work.performance)
        verdict = after_fault(fault, row, self.rules, time.time(), random.random(), work.fetched_bytes)
        await self.crew.books.settle(work, verdict, fault)
        if verdict.stop:
            await self._end(work, Standing(Stage.PENDING))
            raise fault
        if work.staged and verdict.stage in (Stage.PENDING, Stage.WAITING) and self.repeats is not None:
            self.repeats.start_soon(self._repeat, work, verdict.wait_until or time.time())
            return
        if work.staged:
            await self.crew.clear(work, published=False)
        await self._end(work, Standing(verdict.stage, fault.cause, str(fault), verdict.wait_until))

    async def _repeat(self, work: Work, until: float) -> None:
        """Queue an extraction again when it is due; it keeps its lease, because its .smc is still there."""
        try:
            await anyio.sleep(max(0.0, until - time.time()))
        except BaseException:
            await self._let_go(work)
            raise
        work.enter(Stage.DOWNLOADED)
        self.queue.send_nowait(work)

    async def _let_go(self, work: Work) -> None:
        """Leave a performance where it is; what lies on disk is the evidence for the next start."""
        with anyio.CancelScope(shield=True):
            await self._end(work, Standing(Stage.PENDING))

    async def _end(self, work: Work, standing: Standing) -> None:
        if work.lease is not None:
            work.lease.give_back()
            work.lease = None
        await self.crew.books.release(work.performance)
        self.hand.pop(work.performance, None)
        self.agenda.put(work.performance, standing)


class timed:
    """Add the seconds of a block to the work's `seconds`."""

    def __init__(self, work: Work, step: str) -> None:
        self.work, self.step = work, step

    def __enter__(self) -> None:
        self.started = time.monotonic()

    def __exit__(self, *_: object) -> None:
        seconds = self.work.seconds.get(self.step, 0.0) + time.monotonic() - self.started
        self.work.seconds[self.step] = seconds
