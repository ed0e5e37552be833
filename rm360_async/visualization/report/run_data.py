"""What the run's page is told: plain values, so that it knows nothing of ledgers and pipelines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

_COLUMN = re.compile(r"([a-z])([0-9]+)")


class PerformanceState(str, Enum):
    """How a performance stands, in the words and order of the board."""

    COMPLETE = "complete"
    DAMAGED = "damaged"
    FAILED = "failed"
    WAITING = "waiting"
    RUNNING = "running"
    PENDING = "pending"


@dataclass(frozen=True)
class PerformanceEntry:
    """One performance; `error` is why it failed or waits, `status` the manifest's word, times are unix seconds."""

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
    """The numbers of its page, if it has one."""
    trouble: str = ""
    """Why it has none, though it is published."""

    @property
    def square(self) -> PerformanceState:
        """Return how it stands: a page on which something fails is damage, whatever the verdict was."""
        if self.status == "completed":
            page_fails = self.page is not None and self.page.get("state") == "fail"
            bad = self.trouble or self.verdict.startswith("damaged") or page_fails
            return PerformanceState.DAMAGED if bad else PerformanceState.COMPLETE
        if self.status in ("failed", "download_failed"):
            return PerformanceState.FAILED
        return {"waiting": PerformanceState.WAITING, "pending": PerformanceState.PENDING}.get(
            self.status, PerformanceState.RUNNING
        )

    @property
    def column(self) -> str:
        """Return the board's column: the wigs of h1 share one."""
        match = _COLUMN.match(self.name)
        return match[0] if match else self.name

    @property
    def place(self) -> tuple[str, int, str]:
        """Return the key of the columns' order: e2 comes before e10."""
        match = _COLUMN.match(self.name)
        return (match[1], int(match[2]), "") if match else ("~", 0, self.name)


@dataclass(frozen=True)
class DiskUsage:
    """One file system of the run; bytes."""

    name: str
    free: int
    total: int


@dataclass(frozen=True)
class RunData:
    """A run: its performances, bytes fetched and published by time, and its disks.

    `fetched` has (unix seconds of the end, bytes, seconds of download) of each attempt that brought something.
    """

    name: str
    rows: tuple[PerformanceEntry, ...]
    fetched: tuple[tuple[float, int, float], ...] = ()
    disks: tuple[DiskUsage, ...] = ()
    running: tuple[str, ...] = ()
    """A line for each instance that is running now."""
    extra: Mapping[str, Any] = field(default_factory=dict)
