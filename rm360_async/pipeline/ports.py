"""The parts that do the work, as the pipeline sees them.

The protocols are all that the pipeline knows of remote, disk, children and ledger.
"""

from __future__ import annotations

from typing import Protocol

from rm360_async.domain.errors import Fault
from rm360_async.domain.names import Performance
from rm360_async.domain.record import Record
from rm360_async.domain.retry import RetryDecision
from rm360_async.domain.state import PerformanceRow, PlannedState
from rm360_async.pipeline.job import Job


class JobLogPort(Protocol):
    """The ledger and the claims."""

    async def take(self, performance: Performance) -> PerformanceRow | None:
        """Claim a performance and return its row; None when another instance has it in hand."""

    async def enter(self, work: Job) -> None:
        """Note the stage that the work is in."""

    async def settle(self, work: Job, verdict: RetryDecision, fault: Fault) -> None:
        """Note a failure and what follows from it; raises Fault(DISK_FULL) when there is no room for the note."""

    async def completed(self, work: Job, record: Record) -> None:
        """Note a published performance."""

    async def row(self, performance: Performance) -> PerformanceRow:
        """Return the row as it stands now."""

    async def release(self, performance: Performance) -> None:
        """Give the claim back."""


class StagePort(Protocol):
    """The parts that do the work; each raises Fault and nothing else for what the world does to it."""

    @property
    def books(self) -> JobLogPort:
        """The ledger and the claims."""

    async def look_up(self, work: Job) -> None:
        """Fill in the sources (path, size, md5) as the remote has them now."""

    async def lease(self, work: Job) -> None:
        """Take the lease of bytes, in order, or keep the one that it has if it fits; waits for room."""

    async def room(self, work: Job) -> None:
        """Wait until what the lease has still to write fits on the disks: a stranger may have filled them."""

    async def fetch(self, work: Job) -> None:
        """Download what is not staged yet; fills `staged` with whole, compared files."""

    async def extract(self, work: Job) -> Record:
        """Extract into a sealed staging folder."""

    async def publish(self, work: Job, record: Record) -> None:
        """Make the folder appear under its final name, in one step, durably."""

    async def clear(self, work: Job, *, published: bool) -> None:
        """Remove (published) or set aside (failed) the whole staged files; never raises."""

    async def lookup(self, work: Job, row: PerformanceRow) -> PlannedState:
        """Return where the claimed performance stands by now: another instance may have ended it, or died on it."""
