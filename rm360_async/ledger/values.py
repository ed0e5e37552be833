"""What the ledger holds beside the rows of performances, as values; and the text of what was left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rm360_async.domain.counts import StateCounts
from rm360_async.domain.errors import Cause
from rm360_async.domain.formatting import number_ranges
from rm360_async.domain.names import Performance
from rm360_async.domain.record import LeftOut
from rm360_async.domain.stage import Stage

_MAX_GROUPS_SHOWN = 4


@dataclass(frozen=True)
class Attempt:
    """One attempt at a performance; times are unix seconds, `fetched_bytes` those that crossed the network.

    `outcome` is the stage in which it ended, or "interrupted" (asked to stop) or "crashed"; "" while it runs.
    """

    performance: Performance
    started: float
    ended: float | None
    outcome: str
    cause: Cause | None
    reason: str
    seconds: Mapping[str, float]
    fetched_bytes: int


@dataclass(frozen=True)
class Run:
    """One instance of the service; `progress` is its last snapshot, taken at `progress_at`; times are unix seconds."""

    number: int
    pid: int
    host: str
    config: str
    started: float
    ended: float | None
    progress: Mapping[str, Any] = field(default_factory=dict)
    progress_at: float | None = None


@dataclass(frozen=True)
class Totals:
    """The number of performances in each stage, the bytes published, the bytes fetched so far, and how many of the
    completed performances are damaged."""

    stages: Mapping[Stage, int]
    published_bytes: int
    fetched_bytes: int
    damaged: int = 0

    @property
    def counts(self) -> StateCounts:
        """Return how many performances are in each state."""
        return StateCounts(self.stages, self.damaged)


def left_out_text(left_out: Iterable[LeftOut]) -> str:
    """Return e.g. `left out: images cam_05 frames 3, 7-9: not a JPEG`; "" if nothing was left out."""
    groups: dict[tuple[str, str, str], list[int | None]] = {}
    for item in left_out:
        groups.setdefault((item.modality, item.camera, item.reason), []).append(item.frame)
    if not groups:
        return ""
    parts = [_group_text(*key, frames) for key, frames in list(groups.items())[:_MAX_GROUPS_SHOWN]]
    more = sum(len(frames) for frames in list(groups.values())[_MAX_GROUPS_SHOWN:])
    return "left out: " + "; ".join(parts) + (f"; and {more} more" if more else "")


def _group_text(modality: str, camera: str, reason: str, frames: list[int | None]) -> str:
    numbers = sorted({frame for frame in frames if frame is not None})
    where = [modality, f"cam_{camera}" if camera else ""]
    where.append(f"frame{'s' if len(numbers) > 1 else ''} {number_ranges(numbers)}" if numbers else "")
    return f"{' '.join(part for part in where if part)}: {reason}"
