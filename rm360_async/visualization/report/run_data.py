"""The data of the run's page and of the summary: plain values, independent of ledger and pipeline."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from rm360_async.domain.counts import StateCounts
from rm360_async.domain.stage import Stage

_COLUMN = re.compile(r"([a-z])([0-9]+)")


class PerformanceState(str, Enum):
    """State of a performance for a person, in the order in which states are shown."""

    COMPLETE = "complete"
    DAMAGED = "damaged"
    FAILED = "failed"
    WAITING = "waiting"
    RUNNING = "running"
    PENDING = "pending"


@dataclass(frozen=True)
class PerformanceEntry:
    """One performance; `error` is why it failed or waits, `status` as in the manifest, `updated` in unix seconds."""

    subject: str
    name: str
    status: str
    cameras: int
    frames: int
    bytes: int
    updated: float
    error: str
    verdict: str
    page: Mapping[str, Any] | None = None
    """States and sentences of its page (`read_page_states`), if it has one."""
    problem: str = ""
    """Why it has no page, though it is published."""

    @property
    def is_published(self) -> bool:
        """Return True if its folder is published."""
        return self.status == "completed"

    @property
    def state(self) -> PerformanceState:
        """Return its state; a page on which something fails means damage, whatever the verdict was."""
        if self.is_published:
            page_fails = self.page is not None and self.page.get("state") == "fail"
            is_damaged = self.problem or self.verdict.startswith("damaged") or page_fails
            return PerformanceState.DAMAGED if is_damaged else PerformanceState.COMPLETE
        if self.status in ("failed", "download_failed"):
            return PerformanceState.FAILED
        unfinished = {"waiting": PerformanceState.WAITING, "pending": PerformanceState.PENDING}
        return unfinished.get(self.status, PerformanceState.RUNNING)

    @property
    def column(self) -> str:
        """Return its column in the state grid; the wigs of h1 share one."""
        match = _COLUMN.match(self.name)
        return match[0] if match else self.name

    @property
    def column_key(self) -> tuple[str, int, str]:
        """Return the key that sorts columns: e2 comes before e10."""
        match = _COLUMN.match(self.name)
        return (match[1], int(match[2]), "") if match else ("~", 0, self.name)


def count_entries(entries: Iterable[PerformanceEntry]) -> StateCounts:
    """Return how many performances are in each state, in the words of `rm360 status`."""
    entries = list(entries)
    stages = Counter(Stage(entry.status) if entry.status in _STATUSES else Stage.PENDING for entry in entries)
    return StateCounts(stages, sum(entry.state is PerformanceState.DAMAGED for entry in entries))


_STATUSES = {stage.value for stage in Stage}


@dataclass(frozen=True)
class DiskUsage:
    """One file system that the run uses; bytes."""

    name: str
    free: int
    total: int


@dataclass(frozen=True)
class RunData:
    """A run: its performances, downloads, disks, and running instances."""

    name: str
    performances: tuple[PerformanceEntry, ...]
    downloads: tuple[tuple[float, int, float], ...] = ()
    """The end (unix seconds), bytes, and duration (seconds) of each attempt that downloaded something."""
    disks: tuple[DiskUsage, ...] = ()
    running: tuple[str, ...] = ()
    """A line for each instance that is running now."""
    held_back: tuple[str, ...] = ()
    """What keeps these instances from going faster, or from starting anything."""
    refresh_seconds: int = 0
    """How often a browser loads the page again, because it is kept current; 0 for never."""
