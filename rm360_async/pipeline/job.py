"""The job: one performance being processed, with everything that it is and needs.

Invariant: a `Job` is the only mutable state that travels through the pipeline. Stages, downloaders and the job log keep
nothing by performance beside it, and the scheduler only what its order needs, so a job that ends takes its state with
it and nothing has to be forgotten. A job lives from the moment the scheduler hands it out until it is finished; a
retry that keeps the job's bytes on disk keeps the job, any other attempt starts with a new one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import anyio

from rm360_async.domain.clock import SYSTEM_CLOCK, Clock
from rm360_async.domain.names import Kind, Performance
from rm360_async.domain.record import Record, RemoteFile, SourceFile
from rm360_async.domain.selection import FetchMode, Selection
from rm360_async.domain.stage import Stage


class DiskLease(Protocol):
    """Bytes of disk that are reserved for a job until it releases them."""

    def record_written(self, output_bytes: int, output_files: int) -> None:
        """Record how much of the output is on disk by now."""

    async def release(self) -> None:
        """Return the bytes to the budget."""


class FolderLock(Protocol):
    """A lock that keeps other processes from removing a folder until it is released."""

    async def release(self) -> None:
        """Release it; does nothing the second time."""


@dataclass
class StageProgress:
    """How far a job is in the stage that it is in; sizes in bytes, `since` in seconds of the monotonic clock."""

    since: float
    done_bytes: int = 0
    total_bytes: int = 0
    files: int = 0
    note: str = ""
    """What the job waits for; empty while it works."""
    lacks_disk: bool = False
    """True while it waits because a disk is full."""


@dataclass
class Job:
    """One performance being processed."""

    performance: Performance
    stage: Stage = Stage.DOWNLOADING
    progress: StageProgress = field(init=False)
    fetched_bytes: int = 0
    """Bytes that crossed the network in this attempt."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time by step (download, extract, publish), summed over the attempts of this job."""
    fruitless_attempts: int = 0
    """Attempts in a row before this one that failed and brought next to nothing; the scheduler knows it of its
    earlier jobs."""

    is_new: bool = False
    """True if its performance was never begun in this run: while it waits for space it gives way to one that was."""

    row_number: int | None = None
    """Number of its ledger row, and of its claim; None until claimed."""
    attempt_open: bool = False
    """True while the ledger has an attempt of this job that has not ended."""

    target: Path = Path()
    """The folder under its final name."""
    replace: bool = False
    """True if what stands under the final name may be replaced."""
    previous: Record | None = None
    """What the published folder holds that this job completes; None if it starts from nothing."""
    selection: Selection = field(default_factory=Selection)
    """What to extract."""
    staging_dir: Path | None = None
    """The folder that is being written, sealed and then renamed to `target`."""
    attempt_id: str = ""
    """What the name of its next staging folder contains; "" for a random one."""
    staging_lock: FolderLock | None = None
    """Held from before the folder is made until it has its final name or is removed."""

    remote_files: dict[Kind, RemoteFile] = field(default_factory=dict)
    """The files as the remote lists them now."""
    sources: dict[Kind, SourceFile] = field(default_factory=dict)
    """The same as the record will name them; the md5 is filled in once it is known."""
    spool_paths: dict[Kind, Path] = field(default_factory=dict)
    """Where each whole file will be in the spool; computed once, from the identity that the remote listed."""
    spooled: dict[Kind, Path] = field(default_factory=dict)
    """The files that have arrived: whole, or as sparse files with every byte that the job needs."""
    spooled_bytes: int = 0
    """Bytes of its files that lie in the spool."""
    fetch_mode: FetchMode = FetchMode.WHOLE
    needs_whole: bool = False
    """True once an attempt has found that ranges are not enough, or cost more."""
    spool_need: int = 0
    """Bytes of disk in the spool that its lease is for."""
    lease: DiskLease | None = None
    clock: Clock = SYSTEM_CLOCK
    _wait_ended: anyio.Event = field(default_factory=anyio.Event)

    def __post_init__(self) -> None:
        self.enter(self.stage)

    @property
    def arrived(self) -> bool:
        """Return True if everything that the extraction needs is on disk."""
        return bool(self.sources) and self.spooled.keys() >= self.sources.keys()

    @property
    def holds_bytes(self) -> bool:
        """Return True if it has a lease and anything on disk under it."""
        return self.lease is not None and bool(self.spooled or self.spooled_bytes)

    @property
    def source_bytes(self) -> int:
        """Return the size of its files on the remote."""
        return sum(source.size for source in self.sources.values())

    def enter(self, stage: Stage) -> None:
        """Go to another stage; its progress and its clock start from zero."""
        self.stage, self.progress = stage, StageProgress(self.clock.monotonic())

    async def wait(self, seconds: float) -> None:
        """Wait so long, or until `end_wait` is called."""
        self._wait_ended = anyio.Event()
        with anyio.move_on_after(seconds):
            await self._wait_ended.wait()

    def end_wait(self) -> None:
        """End its wait now, if it waits."""
        self._wait_ended.set()

    def forget_spooled(self) -> None:
        """Note that nothing of it is on disk here any more."""
        self.spooled.clear()
        self.spooled_bytes = 0

    async def release_lease(self) -> None:
        """Return the lease, if there is one, to the budget."""
        lease, self.lease = self.lease, None
        if lease is not None:
            await lease.release()

    async def release_staging(self) -> None:
        """Release the lock of the staging folder, if there is one."""
        lock, self.staging_lock = self.staging_lock, None
        if lock is not None:
            await lock.release()

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the wall seconds of the body to `seconds[step]`."""
        start = self.clock.monotonic()
        try:
            yield
        finally:
            self.seconds[step] = self.seconds.get(step, 0.0) + self.clock.monotonic() - start
