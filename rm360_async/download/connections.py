"""The connections of one account: which bytes they request next, and what becomes of those that do not arrive.

Theory of operation. One rclone serves the account on loopback for the whole run; each connection to it requests one
segment after another. The files are in the order of the plan, and a connection takes the first segment of the first
file that has one, so files are finished one after another; only what the first file cannot use goes to the next. A
new file is opened by one request at once, before it is its turn, so that no connection waits for its lookup.

What breaks off after some bytes goes on where it ended, at once. What is refused without a byte may be one of several
things, and the serving rclone does not tell which; so that byte is asked for by `cat`, whose messages are the best. If
it comes, or is refused for the rate while the account brings other bytes, it was one connection too many: their number
is halved, and the segment comes back a little later. Any other reason ends the transfer.

Mutable state: `transfers` and the counters; touched only in the event loop.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup

from rm360_async.domain.clock import SYSTEM_CLOCK, Clock
from rm360_async.domain.errors import Cause, Fault
from rm360_async.download.connection_controller import ConnectionController
from rm360_async.download.rate_limiter import RateLimiter
from rm360_async.download.rclone import Remote, StallPolicy
from rm360_async.download.rclone.range_connection import ConnectionLost, RangeRejected
from rm360_async.download.request_bucket import RequestBucket
from rm360_async.download.segment_fetcher import RangesUnsupported, SegmentFetcher
from rm360_async.download.segments import segment_bytes
from rm360_async.download.transfer import FileTransfer, Segment
from rm360_async.system.log import logger

log = logger(__name__)
URGENT_CONNECTIONS = 48
"""For small ranges of an index, which wait for the distance and do not load the line."""
_TICK_SECONDS = 0.2
_CONNECTED_SHARE = 0.75
"""Of the connections: so many bodies must have arrived at once before their rate says something about that number."""
_REFUSED_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 1.0, 30.0
_LIMIT_SECONDS = 3.0
"""Refusals that follow a limit within this time come from requests that were made before it."""
MAX_REFUSALS = 5
"""Requests from one offset that bring nothing although `cat` gets the byte: then the remote serves no ranges."""
_LIVELY_SECONDS = 10.0
"""An account that brought bytes within this time is alive: a rate limit does not end a transfer."""


class Connections:
    """The connections of one account; `run` keeps them while downloads are `attached`."""

    def __init__(
        self,
        remote: Remote,
        controller: ConnectionController,
        limiter: RateLimiter,
        policy: StallPolicy,
        bucket: RequestBucket,
        total: anyio.CapacityLimiter,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.remote, self.controller, self.limiter, self.policy = remote, controller, limiter, policy
        self.bucket, self._clock = bucket, clock
        self._fetcher = SegmentFetcher(remote, limiter, bucket, total, self.start_more)
        self.transfers: list[FileTransfer] = []
        self.rate = 0.0
        """Bytes a second, smoothed over some seconds."""
        self._most_bodies = 0
        """The most that arrived at once since the number of connections was changed."""
        self.write_share = 0.0
        """The share of their time in which the connections wait for the disk, smoothed like the rate."""
        self._counted, self._counted_write_seconds = 0, 0.0
        """Bytes and seconds that the ticks so far have seen."""
        self.working = 0
        """Connections that request or receive something."""
        self._last_byte_at = float("-inf")
        self._paused_until, self._pauses, self._limited_until = 0.0, 0, 0.0
        self._held_until = 0.0
        """Until then another node probes for this one: no segment is requested."""
        self._explaining = anyio.Lock()
        self._tasks: TaskGroup | None = None

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve the attached transfers until cancelled."""
        ticks_a_second, ticks = round(self.policy.tick_seconds / _TICK_SECONDS) or 1, 0
        try:
            async with anyio.create_task_group() as self._tasks:
                self._fetcher.tasks = self._tasks
                task_status.started()
                while True:
                    before = self._clock.monotonic()
                    await anyio.sleep(_TICK_SECONDS)
                    ticks += 1
                    self._tick(self._clock.monotonic() - before, watch=ticks % ticks_a_second == 0)
        finally:
            self._tasks = self._fetcher.tasks = None
            with anyio.CancelScope(shield=True):
                await self._fetcher.close()

    @asynccontextmanager
    async def attached(self, transfer: FileTransfer) -> AsyncIterator[None]:
        """Download what a transfer wants, in the order in which transfers were attached, until the block ends."""
        self._fetcher.forget_earlier_version(transfer.file)
        self.transfers.append(transfer)
        self.start_more()
        try:
            yield
        finally:
            self.transfers.remove(transfer)
            transfer.detached = True
            for segment in transfer.segments:
                segment.scope.cancel()
            with anyio.CancelScope(shield=True):
                await transfer.wait_until_inactive()

    @property
    def queued_bytes(self) -> int:
        """Return the bytes that no connection has begun."""
        return sum(transfer.queue.total for transfer in self.transfers)

    @property
    def is_refused(self) -> bool:
        """Return True while the account refuses more connections, or all requests."""
        return self.controller.is_refused or self._clock.monotonic() < self._paused_until

    def hold(self, seconds: float) -> None:
        """Request nothing for so long, or until this is called with 0: another node has met a limit, and probes."""
        self._held_until = self._clock.monotonic() + seconds
        self.start_more()

    @property
    def _is_paused(self) -> bool:
        return self._clock.monotonic() < max(self._paused_until, self._held_until)

    def start_more(self) -> None:
        """Start as many connections as there are segments for, and as the controller allows."""
        while self._tasks is not None and not self._is_paused:
            segment = self._next_segment()
            if segment is None:
                return
            self.working += 1
            self._tasks.start_soon(self._work, segment)

    def _next_segment(self) -> Segment | None:
        """Return the next segment to request: of a file that is not open, an urgent one, the front of the plan."""
        allowed, live = self.controller.connections, [each for each in self.transfers if each.fault is None]
        size = segment_bytes(self.queued_bytes, allowed, self.rate / max(1, self.working))
        if self.working < allowed + (not self.controller.is_refused):
            for transfer in live:
                if not transfer.is_open and (segment := self._take(transfer, size)):
                    return segment
        urgent_allowed = allowed if self.controller.is_refused else max(allowed, URGENT_CONNECTIONS)
        if self.working < urgent_allowed:
            for transfer in live:
                if segment := transfer.next_segment(size, urgent=True):
                    return segment
        if self.working < allowed:
            for transfer in live:
                if segment := transfer.next_segment(size):
                    return segment
        return None

    def _take(self, transfer: FileTransfer, max_bytes: int) -> Segment | None:
        return transfer.next_segment(max_bytes, urgent=True) or transfer.next_segment(max_bytes)

    async def _work(self, segment: Segment) -> None:
        """Fetch one segment; what then follows from its end is decided here."""
        transfer = segment.transfer
        try:
            with segment.scope:
                try:
                    await self._fetcher.fetch(segment)
                except (RangeRejected, ConnectionLost) as error:
                    await self._handle_refusal(segment, error)
            if segment.scope.cancelled_caught and transfer.fault is None and not transfer.detached:
                log.info("a silent connection was dropped", file=transfer.file.path, offset=segment.position)
        except (Fault, RangesUnsupported) as error:
            transfer.fail(error)
        finally:
            self.working -= 1
            transfer.end(segment)
            self.start_more()

    async def _handle_refusal(self, segment: Segment, error: Exception) -> None:
        """Decide what follows from a request that was refused or broke off; raises Fault to end the transfer."""
        transfer, offset = segment.transfer, segment.position
        if transfer.in_one_piece:
            message = f"downloading {transfer.file.path} from {self.remote}: {error}"
            raise (await self._ask_reason(segment))[1] or Fault(Cause.NETWORK, message)
        if segment.has_progressed:
            transfer.refusals.clear()
            return
        count = transfer.refusals[offset] = transfer.refusals.get(offset, 0) + 1
        log.info("a range was refused", file=transfer.file.path, offset=offset, message=str(error))
        was_asked, fault = await self._ask_reason(segment)
        if fault is not None:
            if fault.cause is not Cause.RATE_LIMIT or not self._is_lively():
                raise fault
            if not self._fetcher.bodies:
                self._pause()
        elif was_asked and count >= MAX_REFUSALS:
            raise RangesUnsupported(transfer.file.path, str(error))
        is_limit = fault is not None or isinstance(error, RangeRejected)
        if is_limit:
            self._slow_down(is_known_since_now=was_asked)
        if is_limit or not was_asked:
            await anyio.sleep(_REFUSED_PAUSE_SECONDS * count)

    async def _ask_reason(self, segment: Segment) -> tuple[bool, Fault | None]:
        """Ask for the refused byte by `cat`, one at a time; return if it was asked for, and why it does not come.

        It is not asked for among the refusals that follow a limit: they say nothing about the file.
        """
        async with self._explaining:
            now = self._clock.monotonic()
            if segment.transfer.fault is not None or now < max(self._paused_until, self._limited_until):
                return False, None
            await self.bucket.take(4)
            return True, await self.remote.explain_refusal(segment.transfer.file, segment.position)

    def _slow_down(self, *, is_known_since_now: bool) -> None:
        """Allow fewer connections; what is refused soon after the answer that named a limit is not asked about."""
        if is_known_since_now:
            self._limited_until = self._clock.monotonic() + _LIMIT_SECONDS
        if self.controller.refuse(max(self._most_bodies, self._fetcher.bodies)):
            log.info("fewer connections from now on", remote=str(self.remote), connections=self.controller.connections)

    def _pause(self) -> None:
        """Request nothing of this account for a while, twice as long each time until bytes arrive again."""
        seconds = min(_REFUSED_PAUSE_SECONDS * 2**self._pauses, _MAX_PAUSE_SECONDS)
        self._pauses += 1
        self._paused_until = self._clock.monotonic() + seconds

    def _is_lively(self) -> bool:
        return self._clock.monotonic() - self._last_byte_at < _LIVELY_SECONDS + _MAX_PAUSE_SECONDS * bool(self._pauses)

    def _tick(self, seconds: float, *, watch: bool) -> None:
        self._fetcher.count()
        size, self._counted = self._fetcher.received - self._counted, self._fetcher.received
        if size:
            self._last_byte_at, self._pauses = self._clock.monotonic(), 0
        writing = self._fetcher.write_seconds - self._counted_write_seconds
        self._counted_write_seconds = self._fetcher.write_seconds
        smoothing = min(1.0, seconds / 3.0)
        self.rate += smoothing * (size / seconds - self.rate)
        self.write_share += smoothing * (writing / (seconds * max(1, self.working)) - self.write_share)
        is_paused = self._is_paused
        self._most_bodies = max(self._most_bodies, self._fetcher.bodies)
        number = self.controller.connections
        saturated = self.working >= number and self._most_bodies >= _CONNECTED_SHARE * number
        saturated = saturated and not is_paused and not self.limiter.is_limiting
        saturated = saturated and not any(each.urgent for each in self.transfers)
        if self.controller.tick(seconds, size, saturated=saturated) != number:
            self._most_bodies = 0
        if watch and not is_paused and not self.limiter.is_limiting:
            self._watch()
        self.start_more()

    def _watch(self) -> None:
        """End transfers that have stalled, and connections that are silent while others are not."""
        for transfer in [each for each in self.transfers if each.fault is None]:
            if reason := transfer.tick():
                self._fetcher.restart(transfer.file)
                action = f"downloading {transfer.file.path} from {self.remote}"
                progress = f"{transfer.sparse.present.total} of {transfer.file.size} bytes"
                transfer.fail(Fault(Cause.STALL, f"{action}: {reason}, at {progress}"))
                continue
            for segment in transfer.segments:
                segment.silent_ticks += 1
                if segment.silent_ticks >= self.policy.silent_ticks:
                    segment.scope.cancel()
