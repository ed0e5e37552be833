"""The pipeline: downloads fill a queue, extractions empty it.

Theory of operation. A downloader takes the next job from the scheduler, claims it, reserves disk space in FIFO
order, and downloads. The downloaded job goes into a queue that is bounded by the lease that each job holds, so the
queue is sized in bytes of disk. Of files so small that thousands fit, only `MAX_QUEUED` wait: each holds an open
lock file, and a process can have about a thousand.
An extractor takes the job out, has it extracted in a child process, publishes the folder, records that in the
ledger, removes the .smc files, and only then releases lease and claim.

Every failure ends in `_handle_failure`, which asks `decide_retry` what follows and hands the performance back to
the scheduler; so none is ever lost. A failure that a person must fix pauses the scheduler, and is raised after that
once it has lasted (`domain.doubt`): the next job asks the question again, with another rclone. A failure that a stop of
the service itself brought about is none: the job is abandoned where it is, like any other that a stop meets.

A job with bytes on disk keeps its lease and its claim while it waits for its next attempt, which runs in a task of
its own. Without the lease its part would count against the budget and never be finished, and the next in line would
wait for it, or have it removed; and a task of its own depends on no downloader, all of which may be waiting
for that very lease. Only a wait of hours (a quota) releases both.

Published is published: from the rename to the removal of the .smc files nothing cancels. If the ledger cannot be
written because its disk is full, the .smc files are removed first, as the folder is durable, and the record waits.
This room knows no rclone, SQL or HDF5: the parts are behind the protocols of `ports`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from rm360_async.domain.clock import SYSTEM_CLOCK, Clock
from rm360_async.domain.doubt import Attendance
from rm360_async.domain.errors import Cause, Fault, Scope
from rm360_async.domain.record import Record
from rm360_async.domain.retry import (
    RetryDecision,
    RetryPolicy,
    decide_retry,
    is_caused_by_stop,
    is_fruitless,
    may_precede_stop,
)
from rm360_async.domain.stage import ENDED, Stage
from rm360_async.domain.state import PlannedState
from rm360_async.pipeline.doubts import Doubts
from rm360_async.pipeline.job import Job
from rm360_async.pipeline.machine_pause import MachinePause
from rm360_async.pipeline.ports import StagePort
from rm360_async.pipeline.scheduler import Scheduler

_log = logging.getLogger(__name__)
MAX_QUEUED = 64
"""Downloaded jobs that wait for an extractor, at most (each downloader may add one)."""
_STOP_MARGIN_SECONDS = 1.0
"""A signal to every process of a job reaches a child that much earlier than the service, at most."""
_MAX_WRITE_PAUSE = 5.0
"""Seconds between two attempts to write to a ledger whose disk is full, at most."""


@dataclass(frozen=True)
class Width:
    """How many downloads and extractions run at once."""

    downloads: int = 2
    workers: int = 2


async def run(
    scheduler: Scheduler,
    stages: StagePort,
    width: Width,
    policy: RetryPolicy,
    clock: Clock = SYSTEM_CLOCK,
    attendance: Attendance = Attendance.SCRIPT,
) -> None:
    """Process jobs until the scheduler has nothing more to hand out; raises the Fault that stops the service."""
    send, receive = anyio.create_memory_object_stream[Job](math.inf)
    pipeline = _Pipeline(scheduler, stages, policy, clock, send, attendance)
    with receive:
        try:
            async with anyio.create_task_group() as extractors:
                for _ in range(width.workers):
                    extractors.start_soon(pipeline.extract_all, receive)
                with send:  # closed once nothing more can come, which ends the extractors
                    await pipeline.download_all(width.downloads)
        finally:
            await pipeline.abandon_queued(receive)


class _Pipeline:
    """The two loops, and the one place where failures are handled."""

    def __init__(
        self,
        scheduler: Scheduler,
        stages: StagePort,
        policy: RetryPolicy,
        clock: Clock,
        queue: MemoryObjectSendStream[Job],
        attendance: Attendance,
    ) -> None:
        self.scheduler, self.stages, self.policy, self.clock, self.queue = scheduler, stages, policy, clock, queue
        self.doubts = Doubts(scheduler, policy, clock, attendance)
        self.retries: TaskGroup | None = None
        """Runs the retries of jobs that keep their lease; None once no further job may come in."""
        self.machine = MachinePause(stages.probe_workers, self._show_trouble, policy)
        self.ended_by_stop: set[anyio.CancelScope] = set()
        """Waits for disk space, for the turn of the next file, and for a machine that lets no process begin."""
        self._dequeued = anyio.Event()
        """Set, and replaced, when a job was taken out of the queue."""

    async def download_all(self, downloads: int) -> None:
        """Download until the scheduler has no further job; retries of jobs that hold bytes run here too."""
        async with anyio.create_task_group() as retries:
            self.retries = retries
            retries.start_soon(self._close_when_stopped, retries.cancel_scope)
            async with anyio.create_task_group() as downloaders:
                for _ in range(downloads):
                    downloaders.start_soon(self._download_next)
            retries.cancel_scope.cancel()
        self._close()

    async def _close_when_stopped(self, scope: anyio.CancelScope) -> None:
        await self.scheduler.stopped.wait()
        self._close()
        scope.cancel()

    def _close(self) -> None:
        """Let no further job in, and end every wait that a stop ends."""
        self.retries = None
        self._notify_dequeued()
        for scope in list(self.ended_by_stop):
            scope.cancel()

    async def _download_next(self) -> None:
        """Start one job after another until none is left."""
        while (job := await self._next_job()) is not None:
            self.stages.begin_turn(job)
            try:
                await self._guarded(job, self._start)
            finally:
                self.stages.end_turn(job)

    async def _next_job(self) -> Job | None:
        """Return the next job, once the queue is short enough; None when there is none, or after a stop."""
        while self.queue.statistics().current_buffer_used >= MAX_QUEUED and not self.scheduler.stopping:
            await self._dequeued.wait()
        await self._wait_unless_stopped(self.machine.wait)
        return await self.scheduler.next_job(lambda: self._wait_unless_stopped(self.stages.wait_for_turn))

    def _notify_dequeued(self) -> None:
        self._dequeued.set()
        self._dequeued = anyio.Event()

    async def extract_all(self, receive: MemoryObjectReceiveStream[Job]) -> None:
        """Extract and publish what comes out of the queue until it is empty and closed."""
        async for job in receive:
            self._notify_dequeued()
            await self._guarded(job, self._extract_and_publish)

    async def abandon_queued(self, receive: MemoryObjectReceiveStream[Job]) -> None:
        """Release the jobs that a stop found in the queue."""
        while True:
            try:
                job = receive.receive_nowait()
            except (anyio.WouldBlock, anyio.EndOfStream):
                return
            await self._abandon(job)

    async def _guarded(self, job: Job, part: Callable[[Job], Awaitable[None]]) -> None:
        """Run a part of the walk: a fault is handled, and whatever else ends it leaves everything as it lies."""
        try:
            try:
                await part(job)
            except Fault as fault:
                await self._handle_failure(job, fault)
        except BaseException:
            await self._abandon(job)
            raise

    async def _start(self, job: Job) -> None:
        row = await self.stages.job_log.claim(job)
        if row is None:
            self.scheduler.retry_later(job.performance)
            return
        self.scheduler.claimed(job.performance)
        state = await self.stages.lookup(job, row)
        if state.stage is Stage.PENDING:
            await self._download(job)
        else:
            await self._finish(job, state)

    async def _download(self, job: Job) -> None:
        """Download one job; once it is whole on disk, it belongs to the queue."""
        await self._record_stage(job)
        await self.stages.look_up_sources(job)
        self.doubts.answered()
        if not await self._reserve(job):
            return
        with job.timed("download"):
            await self.stages.download(job)
        job.enter(Stage.DOWNLOADED)
        await self._record_stage(job)
        self.queue.send_nowait(job)

    async def _reserve(self, job: Job) -> bool:
        """Take the job's lease; return False if it gave way to a performance that was begun and may start now."""
        if not job.is_new or self.retries is None:
            await self.stages.reserve(job)
            return True
        reserving, watching, gives_way = anyio.CancelScope(), anyio.CancelScope(), False
        self.retries.start_soon(self._cancel_if_passed_over, watching, reserving)
        try:
            with reserving:
                await self.stages.reserve(job)
            gives_way = reserving.cancel_called and job.lease is None
        finally:
            watching.cancel()
            if reserving.cancel_called and not gives_way:
                self.scheduler.keep_place()
        if gives_way:
            await self._give_way(job)
        return not gives_way

    async def _cancel_if_passed_over(self, watching: anyio.CancelScope, reserving: anyio.CancelScope) -> None:
        with watching:
            await self.scheduler.wait_until_passed_over()
            if watching.cancel_called:  # it has got its lease in the same moment
                self.scheduler.keep_place()
            else:
                reserving.cancel()

    async def _give_way(self, job: Job) -> None:
        try:
            await self.stages.job_log.release(job)
        finally:
            self.scheduler.give_way(job.performance)

    async def _extract_and_publish(self, job: Job) -> None:
        if self.machine.paused():
            job.progress.note = "paused: processes end before they begin"
        await self._wait_unless_stopped(self.machine.wait)
        job.progress.note = ""
        await self._wait_unless_stopped(lambda: self.stages.wait_for_space(job))
        if self.scheduler.stopping:
            await self._abandon(job)
            return
        job.enter(Stage.EXTRACTING)
        await self._record_stage(job)
        with job.timed("extract"):
            record = await self.stages.extract(job)
        self.machine.record_begun()
        job.enter(Stage.PUBLISHING)
        await self._record_stage(job)
        await self._publish(job, record)
        self.doubts.was_published()
        await self._finish(job, PlannedState(Stage.COMPLETED))

    async def _wait_unless_stopped(self, wait: Callable[[], Awaitable[None]]) -> None:
        """Wait for something; a stop ends the wait."""
        with anyio.CancelScope() as scope:
            self.ended_by_stop.add(scope)
            try:
                if not self.scheduler.stopping:
                    await wait()
            finally:
                self.ended_by_stop.discard(scope)

    async def _publish(self, job: Job, record: Record) -> None:
        unrecorded = False
        with anyio.CancelScope(shield=True):
            with job.timed("publish"):
                await self.stages.publish(job, record)
            try:
                await self.stages.job_log.record_completed(job, record)
            except Fault as fault:
                if fault.cause is not Cause.DISK_FULL:
                    raise
                unrecorded = True
            await self.stages.cleanup(job, published=True)
        if unrecorded:
            await self._record(job, lambda: self.stages.job_log.record_completed(job, record))

    async def _record_stage(self, job: Job) -> None:
        await self._record(job, lambda: self.stages.job_log.enter_stage(job))

    async def _record(self, job: Job, write: Callable[[], Awaitable[None]]) -> None:
        """Write to the ledger; while its disk is full, say so and try again."""
        while True:
            try:
                await write()
                break
            except Fault as fault:
                if fault.cause is not Cause.DISK_FULL:
                    raise
                if not job.progress.note:
                    job.progress.note = f"Insufficient storage space: {fault.message}; waiting"
                    job.progress.lacks_disk = True
                    _log.warning("%s (%s)", job.progress.note, job.performance)
            await anyio.sleep(min(max(self.policy.retry_delay, 0.05), _MAX_WRITE_PAUSE))
        job.progress.note, job.progress.lacks_disk = "", False

    async def _handle_failure(self, job: Job, fault: Fault) -> None:
        if fault.cause.scope is Scope.MACHINE or job.stage is Stage.EXTRACTING:
            self.machine.record_failure(job.performance, fault)
        if await self._is_from_stop(fault):
            await self._abandon(job)
            return
        doubt = self.doubts.confirm(fault, self.stages.fetched_bytes)
        ends_run = doubt is not None and self.doubts.is_believed(doubt)
        row = await self.stages.job_log.row(job)
        now, chance, fruitless = self.clock.now(), self.clock.chance(), job.fruitless_attempts
        decision = decide_retry(fault, row, self.policy, now, chance, job.fetched_bytes, fruitless, ends_run=ends_run)
        job.fruitless_attempts = fruitless + 1 if is_fruitless(job.fetched_bytes) else 0
        what = "%s: %s, counts as a try: %s, downloaded %d bytes, fruitless attempts %d"
        counted = (decision.counts_as_try, job.fetched_bytes, job.fruitless_attempts)
        _log.debug(what, job.performance, decision.stage.value, *counted)
        if doubt is not None:
            self.doubts.pause(doubt, math.inf if ends_run else (decision.wait_until or now) - now)
        await self._record(job, lambda: self.stages.job_log.record_failure(job, decision, fault))
        if doubt is not None and ends_run:
            await self._finish(job, PlannedState(Stage.PENDING))
            raise doubt.fault
        if decision.stage in ENDED:
            await self.stages.cleanup(job, published=False)
        elif self.retries is not None and job.holds_bytes and fault.cause is not Cause.FILE_QUOTA:
            self.retries.start_soon(self._retry_in_place, job, decision, fault)
            return
        await self._finish(job, PlannedState(decision.stage, fault.cause, str(fault), decision.wait_until))

    def _show_trouble(self, trouble: str) -> None:
        self.scheduler.trouble = trouble

    async def _is_from_stop(self, fault: Fault) -> bool:
        """Return True if a failure came from the stop itself; waits for a stop that may be about to come."""
        if may_precede_stop(fault):
            with anyio.move_on_after(_STOP_MARGIN_SECONDS):
                await self.scheduler.stopped.wait()
        return self.scheduler.stopping and is_caused_by_stop(fault)

    async def _retry_in_place(self, job: Job, decision: RetryDecision, fault: Fault) -> None:
        """Retry a job that keeps its lease and its claim."""
        await self._guarded(job, lambda job: self._resume(job, decision.wait_until or 0.0, fault))

    async def _resume(self, job: Job, due: float, fault: Fault) -> None:
        """Wait until `due` (unix seconds), then extract if everything has arrived, else download."""
        arrived = job.arrived
        job.enter(Stage.WAITING)
        job.progress.note = f"retrying after: {fault.message}"
        await job.wait(max(0.0, due - self.clock.now()))
        job.enter(Stage.DOWNLOADED if arrived else Stage.DOWNLOADING)
        if arrived:
            self.queue.send_nowait(job)
        else:
            await self._download(job)

    async def _abandon(self, job: Job) -> None:
        """Release a job where it is; what lies on disk is the evidence for the next start."""
        if self.scheduler.active.get(job.performance) is job:
            with anyio.CancelScope(shield=True):
                await self._finish(job, PlannedState(Stage.PENDING))

    async def _finish(self, job: Job, state: PlannedState) -> None:
        await job.release_staging()
        await job.release_lease()
        try:
            await self.stages.job_log.release(job)
        finally:
            self.scheduler.update(job.performance, state)
