"""All accounts of a run, their connections together, and the turn of the next file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from rm360_async.domain.bandwidth import BandwidthLimit
from rm360_async.domain.clock import SYSTEM_CLOCK, Clock
from rm360_async.domain.names import Performance
from rm360_async.domain.retry import RetryPolicy
from rm360_async.download.account import Account
from rm360_async.download.connection_controller import FIRST_CONNECTIONS, MAX_CONNECTIONS, ConnectionController
from rm360_async.download.connections import Connections
from rm360_async.download.rate_limiter import RateLimiter
from rm360_async.download.rclone import Remote, StallPolicy
from rm360_async.download.recent_files import RecentFiles
from rm360_async.download.request_bucket import RequestBucket
from rm360_async.download.throttle import Throttle
from rm360_async.pipeline.ports import SourceNotes
from rm360_async.system.exception_groups import unwraps_faults

MAX_DOWNLOADS = 8
"""Files open at once, if the config says no number: most of them are being looked up or compared."""
_AHEAD_SECONDS, _MIN_AHEAD_BYTES = 4.0, 16 * 2**20
"""A file has its turn when less than this is left of those before it that no connection has begun."""
_START_SECONDS = 3.0
"""How long a file that has its turn counts as one that is looked up; longer, and it waits for something else."""
_MAX_STARTING = 4
_POLL_SECONDS = 0.1
_SAVE_SECONDS, _SHARE_SECONDS = 30.0, 10.0


@dataclass(frozen=True)
class LineLimits:
    """What the config says about the line; None: as many as it needs."""

    connections: int | None = None
    downloads: int | None = None
    bandwidth: BandwidthLimit = field(default_factory=BandwidthLimit)


class Accounts(Sequence[Account]):
    """The accounts of a run, in the order of the config."""

    def __init__(
        self,
        remotes: Sequence[Remote],
        stall_policy: StallPolicy,
        retry_policy: RetryPolicy | None = None,
        limits: LineLimits | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        limits, retry_policy = limits or LineLimits(), retry_policy or RetryPolicy()
        self.limiter = RateLimiter(limits.bandwidth, clock)
        self.recent_files = RecentFiles(clock)
        self._clock = clock
        self._turns: dict[Performance, float] = {}
        """Which performances have their turn and have not begun to download, and since when (monotonic seconds)."""
        most = limits.connections or MAX_CONNECTIONS
        total = anyio.CapacityLimiter(most)
        width = limits.downloads or MAX_DOWNLOADS
        self._accounts = [
            Account(
                remote,
                Throttle(width, retry_policy, clock=clock.monotonic, chance=clock.chance),
                Connections(
                    remote,
                    ConnectionController(FIRST_CONNECTIONS, most),
                    self.limiter,
                    stall_policy,
                    RequestBucket(clock),
                    total,
                    clock,
                ),
            )
            for remote in remotes
        ]

    def __getitem__(self, index: int) -> Account:  # type: ignore[override]
        return self._accounts[index]

    def __len__(self) -> int:
        return len(self._accounts)

    def __iter__(self) -> Iterator[Account]:
        return iter(self._accounts)

    @asynccontextmanager
    async def running(
        self, notes: SourceNotes | None = None, instances: Callable[[], Awaitable[int]] | None = None
    ) -> AsyncIterator[None]:
        """Serve and connect while the block runs; each account begins with the connections that it had before.

        `instances` returns how many instances use the accounts now: each gets its share of the requests.
        """
        if notes is not None:
            for account in self:
                number = await notes.get_meta(_meta_key(account))
                if number is not None and number.isdigit():
                    account.connections.controller.start_at(int(number))
        with unwraps_faults():
            async with anyio.create_task_group() as tasks:
                for account in self:
                    await tasks.start(account.connections.run)
                if notes is not None:
                    tasks.start_soon(self._save, notes)
                if instances is not None:
                    tasks.start_soon(self._share_requests, instances)
                try:
                    yield
                finally:
                    tasks.cancel_scope.cancel()

    async def _save(self, notes: SourceNotes) -> None:
        """Remember how many connections each account needs, until cancelled."""
        saved: dict[str, int] = {}
        while True:
            await anyio.sleep(_SAVE_SECONDS if saved else _SAVE_SECONDS / 6)
            for account in self:
                number = account.connections.controller.knee
                if number is not None and saved.get(str(account)) != number:
                    await notes.set_meta(_meta_key(account), str(number))
                    saved[str(account)] = number

    async def _share_requests(self, instances: Callable[[], Awaitable[int]]) -> None:
        """Keep to this instance's share of the requests that an account allows, until cancelled."""
        while True:
            count = await instances()
            for account in self:
                account.connections.bucket.share_among(count)
            await anyio.sleep(_SHARE_SECONDS)

    @property
    def rate(self) -> float:
        """Return the bytes a second that all connections bring now."""
        return sum(account.connections.rate for account in self)

    @property
    def open_connections(self) -> int:
        """Return how many connections request or receive something now."""
        return sum(account.connections.working for account in self)

    @property
    def held_back_by(self) -> str:
        """Return what bounds the downloads now, in a word or two; "" if nothing is being downloaded."""
        if not any(account.connections.transfers for account in self):
            return ""
        if self.limiter.is_limiting:
            return "bandwidth limit"
        if any(each.throttle.is_slowed_down or each.connections.is_refused for each in self):
            return "remote's limit"
        if any(account.connections.write_share > 0.5 for account in self):
            return "disk"
        return "line"

    async def wait_for_turn(self) -> None:
        """Return when the connections can soon use another file."""
        while not self.has_room():  # noqa: ASYNC110 - every segment that is begun changes it
            await anyio.sleep(_POLL_SECONDS)

    def begin_turn(self, performance: Performance) -> None:
        """Note that a performance has its turn: its files are looked up now, and count for some seconds."""
        self._turns[performance] = self._clock.monotonic()

    def end_turn(self, performance: Performance) -> None:
        """Note that a performance has begun to download, from when on its bytes count, or that it does not."""
        self._turns.pop(performance, None)

    def has_room(self) -> bool:
        """Return True if the connections can soon use another file."""
        since = self._clock.monotonic() - _START_SECONDS
        starting = sum(1 for begun in self._turns.values() if begun > since)
        queued = sum(account.connections.queued_bytes for account in self)
        return starting < _MAX_STARTING and queued < max(_MIN_AHEAD_BYTES, _AHEAD_SECONDS * self.rate)


def _meta_key(account: Account) -> str:
    return f"connections {account}"
