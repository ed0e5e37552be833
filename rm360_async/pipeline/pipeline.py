"""The pipeline: downloaders fill, a queue bounded in bytes of disk carries, extractors empty.

Theory of operation. A downloader takes the next performance from the agenda, claims it, takes a lease of
bytes in FIFO order, and downloads. The downloaded performance goes into a queue that is bounded by the lease
that each item holds, so it is sized in bytes of disk. Of files so small that thousands fit, only `_MOST_QUEUED`
wait: each holds an open lock file, and a process has a thousand at most.
An extractor takes it out, has it extracted in a child process, publishes, writes the ledger, removes the
.smc, and only then gives lease and claim back.

Every failure ends in `_settle`, which asks `plan.decide_retry` what follows and puts the performance back
into the agenda; so nothing leaves the books. A failure that stops the service is raised after that.

A performance with bytes on disk keeps its lease and its claim while it waits for its next try, and tries
again in a task of its own. Without the lease its part would count against the budget with nobody to finish
it, and the next in line would wait for it, or have it removed; and a task of its own depends on no
downloader, all of which may be waiting for that very lease. Only a wait of hours (a quota) gives both back.

Published is published: from the rename to the removal of the .smc nothing cancels. Where the books cannot
be written because their disk is full, the .smc goes first, as the folder is durable, and the note waits.
This room knows no rclone, SQL or HDF5: the parts are behind the small protocols of `work`.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Performance
from rm360_async.domain.record import Record
from rm360_async.domain.retry import RetryDecision, RetryPolicy, decide_retry
from rm360_async.domain.stage import ENDED, Stage
from rm360_async.domain.state import PlannedState
from rm360_async.pipeline.job import Job, timed
from rm360_async.pipeline.ports import StagePort
from rm360_async.pipeline.scheduler import Scheduler

__all__ = ["Job", "Width", "run"]

_log = logging.getLogger(__name__)
_LONGEST_PAUSE = 5.0
"""Seconds between two tries to write the books on a full disk, at most."""
_MOST_QUEUED = 64
"""Downloaded performances that wait for an extractor, at most (each downloader may add one)."""


@dataclass(frozen=True)
class Width:
    """How many downloads and extractions run at once."""

    downloads: int = 2
    workers: int = 2


async def run(
    agenda: Scheduler, crew: StagePort, width: Width, rules: RetryPolicy, hand: dict[Performance, Job] | None = None
) -> None:
    """Work until the agenda has nothing more to hand out; raises the Fault that stops the service.

    `hand` is kept filled with the work in hand, for onlookers.
    """
    send, receive = anyio.create_memory_object_stream[Job](math.inf)
    line = _Pipeline(agenda, crew, rules, send, {} if hand is None else hand)
    with receive:
        try:
            async with anyio.create_task_group() as extractors:
                for _ in range(width.workers):
                    extractors.start_soon(line.extract, receive)
                with send:  # closed once nothing more can come, which ends the extractors
                    await line.bring_in(width.downloads)
        finally:
            await line.leave_queued(receive)


class _Pipeline:
    """The two loops, and the one place where failures are settled."""

    def __init__(
        self,
        agenda: Scheduler,
        crew: StagePort,
        rules: RetryPolicy,
        queue: MemoryObjectSendStream[Job],
        hand: dict[Performance, Job],
    ) -> None:
        self.agenda, self.crew, self.rules, self.queue, self.hand = agenda, crew, rules, queue, hand
        self.repeats: TaskGroup | None = None
        """Where tries after the first run; None once nothing more may come in."""
        self.pauses: set[anyio.CancelScope] = set()
        """Extractors that wait for room."""
        self._taken = anyio.Event()
        """Set, and replaced, when something was taken out of the queue."""

    async def bring_in(self, downloads: int) -> None:
        """Download until the agenda ends; whatever is to be tried again comes back from here too."""
        async with anyio.create_task_group() as repeats:
            self.repeats = repeats
            repeats.start_soon(self._stop_when_draining, repeats.cancel_scope)
            async with anyio.create_task_group() as downloaders:
                for _ in range(downloads):
                    downloaders.start_soon(self.download)
            repeats.cancel_scope.cancel()
        self._stop_coming()

    async def _stop_when_draining(self, scope: anyio.CancelScope) -> None:
        await self.agenda.drained.wait()
        self._stop_coming()
        scope.cancel()

    def _stop_coming(self) -> None:
        self.repeats = None
        self._tell_taken()
        for pause in list(self.pauses):
            pause.cancel()

    async def download(self) -> None:
        """Take performances one after another until none is left, and pass on what has arrived."""
        while (performance := await self._next()) is not None:
            work = self.hand[performance] = Job(performance)
            await self._walk(work, self._begins)

    async def _next(self) -> Performance | None:
        """Return the next performance, once the queue is short enough; None when there is none, or we stop."""
        while self.queue.statistics().current_buffer_used >= _MOST_QUEUED and not self.agenda.draining:
            await self._taken.wait()
        return await self.agenda.next()

    def _tell_taken(self) -> None:
        self._taken.set()
        self._taken = anyio.Event()

    async def extract(self, receive: MemoryObjectReceiveStream[Job]) -> None:
        """Extract and publish what comes out of the queue until it is empty and closed."""
        async for work in receive:
            self._tell_taken()
            await self._walk(work, self._publishes)

    async def leave_queued(self, receive: MemoryObjectReceiveStream[Job]) -> None:
        """Let go of what a stop found in the queue."""
        while True:
            try:
                work = receive.receive_nowait()
            except (anyio.WouldBlock, anyio.EndOfStream):
                return
            await self._let_go(work)

    async def _walk(self, work: Job, part: Callable[[Job], Awaitable[None]]) -> None:
        """Go a part of the way: a fault is settled, and whatever else breaks it off leaves all as it lies."""
        try:
            try:
                await part(work)
            except Fault as fault:
                await self._settle(work, fault)
        except BaseException:
            await self._let_go(work)
            raise

    async def _begins(self, work: Job) -> None:
        row = await self.crew.books.take(work.performance)
        if row is None:
            self.hand.pop(work.performance)
            self.agenda.leave_elsewhere(work.performance)
            return
        standing = await self.crew.lookup(work, row)
        if standing.stage is Stage.PENDING:
            await self._brings(work)
        else:
            await self._end(work, standing)

    async def _brings(self, work: Job) -> None:
        """Bring one performance in; whole on disk, it belongs to the queue."""
        await self._note(work, lambda: self.crew.books.enter(work))
        await self.crew.look_up(work)
        await self.crew.lease(work)
        with timed(work, "download"):
            await self.crew.fetch(work)
        work.enter(Stage.DOWNLOADED)
        await self._note(work, lambda: self.crew.books.enter(work))
        self.queue.send_nowait(work)

    async def _publishes(self, work: Job) -> None:
        await self._room(work)
        if self.agenda.draining:
            await self._let_go(work)
            return
        work.enter(Stage.EXTRACTING)
        await self._note(work, lambda: self.crew.books.enter(work))
        with timed(work, "extract"):
            record = await self.crew.extract(work)
        work.enter(Stage.PUBLISHING)
        await self._note(work, lambda: self.crew.books.enter(work))
        await self._note_published(work, record)
        await self._end(work, PlannedState(Stage.COMPLETED))

    async def _room(self, work: Job) -> None:
        """Wait for room on the disks; a stop ends the waiting."""
        with anyio.CancelScope() as pause:
            self.pauses.add(pause)
            try:
                if not self.agenda.draining:
                    await self.crew.room(work)
            finally:
                self.pauses.discard(pause)

    async def _note_published(self, work: Job, record: Record) -> None:
        unnoted: Fault | None = None
        with anyio.CancelScope(shield=True):
            with timed(work, "publish"):
                await self.crew.publish(work, record)
            try:
                await self.crew.books.completed(work, record)
            except Fault as fault:
                if fault.cause is not Cause.DISK_FULL:
                    raise
                unnoted = fault
            await self.crew.clear(work, published=True)
        if unnoted is not None:
            await self._note(work, lambda: self.crew.books.completed(work, record))

    async def _note(self, work: Job, note: Callable[[], Awaitable[None]]) -> None:
        """Write a note into the books; while their disk is full, say so and try again."""
        while True:
            try:
                await note()
                break
            except Fault as fault:
                if fault.cause is not Cause.DISK_FULL:
                    raise
                if not work.note:
                    work.note = f"Insufficient storage space: {fault.message}; waiting"
                    _log.warning("%s (%s)", work.note, work.performance)
            await anyio.sleep(min(max(self.rules.retry_delay, 0.05), _LONGEST_PAUSE))
        work.note = ""

    async def _settle(self, work: Job, fault: Fault) -> None:
        row = await self.crew.books.row(work.performance)
        verdict = decide_retry(fault, row, self.rules, time.time(), random.random(), work.fetched_bytes)
        await self._note(work, lambda: self.crew.books.settle(work, verdict, fault))
        if verdict.stop:
            await self._end(work, PlannedState(Stage.PENDING))
            raise fault
        if verdict.stage in ENDED:
            await self.crew.clear(work, published=False)
        elif self.repeats is not None and work.holds_bytes and fault.cause is not Cause.FILE_QUOTA:
            self.repeats.start_soon(self._repeat, work, verdict, fault)
            return
        await self._end(work, PlannedState(verdict.stage, fault.cause, str(fault), verdict.wait_until))

    async def _repeat(self, work: Job, verdict: RetryDecision, fault: Fault) -> None:
        """Go on when it is due: with the extraction if all has arrived, else with the download."""
        await self._walk(work, lambda work: self._goes_on(work, verdict.wait_until or 0.0, fault))

    async def _goes_on(self, work: Job, due: float, fault: Fault) -> None:
        arrived = work.arrived
        work.enter(Stage.WAITING)
        work.note = f"trying again after: {fault.message}"
        await anyio.sleep(max(0.0, due - time.time()))
        work.enter(Stage.DOWNLOADED if arrived else Stage.DOWNLOADING)
        if arrived:
            self.queue.send_nowait(work)
        else:
            await self._brings(work)

    async def _let_go(self, work: Job) -> None:
        """Leave a performance where it is; what lies on disk is the evidence for the next start."""
        if self.hand.get(work.performance) is work:
            with anyio.CancelScope(shield=True):
                await self._end(work, PlannedState(Stage.PENDING))

    async def _end(self, work: Job, standing: PlannedState) -> None:
        if work.lease is not None:
            work.lease.give_back()
            work.lease = None
        try:
            await self.crew.books.release(work.performance)
        finally:
            self.hand.pop(work.performance, None)
            self.agenda.put(work.performance, standing)
