"""What the pipeline and the downloads need from the outside, as protocols.

The pipeline knows no remote, disk, child process or database; it knows these. `stages` implements them with the
real parts, the tests with simulated ones.
"""

from __future__ import annotations

from typing import Protocol

from rm360_async.domain.errors import Fault
from rm360_async.domain.record import Record
from rm360_async.domain.retry import RetryDecision
from rm360_async.domain.state import PerformanceRow, PlannedState
from rm360_async.pipeline.job import Job


class JobLogPort(Protocol):
    """The ledger, and the claims that keep two instances from working on the same performance.

    Methods that write raise Fault(DISK_FULL) when the ledger's disk has no room.
    """

    async def claim(self, job: Job) -> PerformanceRow | None:
        """Claim the job's performance and return its row; None when another instance is working on it."""

    async def enter_stage(self, job: Job) -> None:
        """Record the stage that the job is in; the first stage of an attempt begins the attempt."""

    async def record_failure(self, job: Job, decision: RetryDecision, fault: Fault) -> None:
        """Record a failure and what follows from it; ends the attempt."""

    async def record_completed(self, job: Job, record: Record) -> None:
        """Record a published performance; ends the attempt."""

    async def row(self, job: Job) -> PerformanceRow:
        """Return the job's row as it is now."""

    async def release(self, job: Job) -> None:
        """Release the claim; an attempt that is still open was interrupted."""


class StagePort(Protocol):
    """The stages of a job, in their order; each raises Fault, and nothing else, for what the world does to it.

    After `record_completed` nothing may raise: the row is completed then, and no failure follows from that.
    """

    @property
    def job_log(self) -> JobLogPort:
        """Return the ledger and the claims."""

    @property
    def fetched_bytes(self) -> int:
        """Return the bytes that crossed the network in this run: while they grow, the remote answers."""

    async def wait_for_turn(self) -> None:
        """Return when the downloads can soon use another file."""

    def begin_turn(self, job: Job) -> None:
        """Note that this is the job which has its turn."""

    def end_turn(self, job: Job) -> None:
        """Note that a job brings no further download; does nothing once its download has begun."""

    async def lookup(self, job: Job, row: PerformanceRow) -> PlannedState:
        """Reconcile the claimed job with what is on disk; return the state that it is really in."""

    async def look_up_sources(self, job: Job) -> None:
        """Fill in the remote's files (path, size, md5) as they are now."""

    async def reserve(self, job: Job) -> None:
        """Take a lease of disk space, in order, or keep the one that still fits; waits for space."""

    async def wait_for_space(self, job: Job) -> None:
        """Wait until what the lease has still to write fits on the disks: other programs may have filled them."""

    async def download(self, job: Job) -> None:
        """Download what is not in the spool yet; fills `spooled` with compared files."""

    async def probe_workers(self) -> None:
        """Start a worker as an extraction does, which does nothing. Raises Fault if it cannot begin."""

    async def extract(self, job: Job) -> Record:
        """Extract into a sealed staging folder."""

    async def publish(self, job: Job, record: Record) -> None:
        """Make the folder appear under its final name, in one step, durably."""

    async def cleanup(self, job: Job, *, published: bool) -> None:
        """Remove (published) or quarantine (failed) the files in the spool; never raises."""


class SourceNotes(Protocol):
    """What downloads remember about the remote's files, across restarts."""

    async def quota_until(self, remote: str, path: str) -> float | None:
        """Return until when (unix seconds) a remote's quota for a file is used up; None if it is not."""

    async def record_quota(self, remote: str, path: str, until: float) -> None:
        """Record that a remote's quota for a file is used up until `until` (unix seconds)."""

    async def get_meta(self, key: str) -> str | None:
        """Return the value stored under a key; None if there is none."""

    async def set_meta(self, key: str, value: str) -> None:
        """Store a value under a key."""
