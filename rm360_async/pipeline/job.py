"""What the pipeline works on, and the parts that do the work, as it sees them.

`Job` is the only mutable state that travels through the pipeline. The protocols are all that the pipeline
knows of remote, disk, children and ledger; `service` has the real ones, the tests simulated ones.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from rm360_async.domain.names import Kind, Performance
from rm360_async.domain.record import SourceFile
from rm360_async.domain.selection import FetchMode
from rm360_async.domain.stage import Stage


class DiskLease(Protocol):
    """Bytes of disk that are ours until given back."""

    def wrote(self, output_bytes: int, output_files: int) -> None:
        """Tell how much of the output lies on disk by now."""

    def give_back(self) -> None:
        """Return the bytes to the budget."""


@dataclass
class Job:
    """One performance in hand."""

    performance: Performance
    stage: Stage = Stage.DOWNLOADING
    since: float = field(default_factory=time.monotonic)
    done_bytes: int = 0
    total_bytes: int = 0
    fetched_bytes: int = 0
    """Bytes that crossed the network in this attempt."""
    files: int = 0
    note: str = ""
    way: FetchMode = FetchMode.WHOLE
    staging_bytes: int = 0
    """Bytes of disk in staging that its lease is for."""
    sources: dict[Kind, SourceFile] = field(default_factory=dict)
    staged: dict[Kind, Path] = field(default_factory=dict)
    lease: DiskLease | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    begun: bool = False
    """Bytes lay on disk under its lease when it entered the stage."""

    @property
    def arrived(self) -> bool:
        """Tell whether every source is whole on disk."""
        return bool(self.sources) and self.staged.keys() >= self.sources.keys()

    @property
    def holds_bytes(self) -> bool:
        """Tell whether it has a lease and anything on disk under it."""
        return self.lease is not None and bool(self.begun or self.staged or self.done_bytes)

    def enter(self, stage: Stage) -> None:
        """Go to the next stage; its clock starts."""
        self.begun = self.holds_bytes
        self.stage, self.since, self.done_bytes, self.total_bytes, self.note = stage, time.monotonic(), 0, 0, ""


class timed:
    """Add the seconds of a block to the work's `seconds`."""

    def __init__(self, work: Job, step: str) -> None:
        self.work, self.step = work, step

    def __enter__(self) -> None:
        self.started = time.monotonic()

    def __exit__(self, *_: object) -> None:
        seconds = self.work.seconds.get(self.step, 0.0) + time.monotonic() - self.started
        self.work.seconds[self.step] = seconds
