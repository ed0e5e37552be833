"""What is left to do with a performance: decided from the ledger's row, the disk and the remote's listing.

`now` is an argument, so that every decision can be tested as a table. `decide_state` serves the first start and the
hundredth resume alike: it looks only at the row, at what is on disk, and at what the remote lists.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from rm360_async.domain.errors import Cause
from rm360_async.domain.names import Performance
from rm360_async.domain.record import SourceFile
from rm360_async.domain.stage import Stage

HOUR = 3600.0
MAX_WAIT_SECONDS = 7 * 24 * HOUR
"""The longest wait that is ever recorded: one that seems longer was recorded by a clock that was wrong."""


@dataclass(frozen=True)
class PerformanceRow:
    """What the ledger knows of one performance; times are unix seconds, sizes bytes."""

    performance: Performance
    stage: Stage
    tries: int = 0
    """Attempts that counted as a try since it was last requeued, by a person or by the next run."""
    cause: Cause | None = None
    reason: str = ""
    wait_until: float | None = None
    forced: bool = False
    """True if it is to be extracted again although it is published (`--force`)."""
    cameras_extracted: int = 0
    frames: int = 0
    bytes: int = 0
    """Size of the published folder."""
    updated: float = 0.0
    sources: tuple[SourceFile, ...] = ()
    """The remote's files as last listed."""
    verdict: str = ""
    """Of a published folder: complete, complete as released, or damaged and with what."""
    fps: float | None = None
    """Frames a second, and below the seconds of audio, of a published folder; None if unknown."""
    audio_seconds: float | None = None

    def without_folder(self) -> PerformanceRow:
        """Return the row without what it holds of its published folder, which is gone."""
        row = replace(self, cameras_extracted=0, frames=0, bytes=0, verdict="")
        return replace(row, fps=None, audio_seconds=None)


@dataclass(frozen=True)
class Observed:
    """What was observed outside the ledger: the published folder, and the files that the remote lists.

    `listed` is None if the remote was not asked; `missing` names the needed files that it does not have.
    """

    published: bool = False
    """True if the folder is published, by this or by another version."""
    listed: tuple[SourceFile, ...] | None = None
    missing: tuple[str, ...] = ()
    incomplete: bool = False
    """True if the published folder lacks something that is wanted now, and is to be completed."""
    unlisted: str = ""
    """Why the remote did not list the place of the missing files; "" if it did, and they are not there."""


@dataclass(frozen=True)
class PlannedState:
    """The state that a performance is really in, and why; `wait_until` in unix seconds."""

    stage: Stage
    cause: Cause | None = None
    reason: str = ""
    wait_until: float | None = None


def source_changed(before: tuple[SourceFile, ...], now: tuple[SourceFile, ...]) -> bool:
    """Return True if the remote's files differ from the ones known before, by size, md5 or time."""
    earlier = {source.path: source for source in before}
    return any(_differs(earlier.get(source.path), source) for source in now)


def _differs(old: SourceFile | None, new: SourceFile) -> bool:
    if old is None or old.size != new.size:
        return True
    if old.md5 and new.md5:
        return old.md5 != new.md5
    return bool(old.modified and new.modified and old.modified != new.modified)


def decide_state(row: PerformanceRow, observed: Observed, now: float) -> PlannedState:
    """Return the state that a performance is really in: the disk decides about content, the ledger about intent."""
    completed = observed.published and not row.forced
    if completed and (observed.missing or not observed.incomplete):
        return PlannedState(Stage.COMPLETED)
    if observed.missing and observed.unlisted:
        return PlannedState(Stage.DOWNLOAD_FAILED, Cause.FORBIDDEN, observed.unlisted)
    if observed.missing:
        return PlannedState(
            Stage.DOWNLOAD_FAILED, Cause.NOT_FOUND, f"the remote does not have {_joined(observed.missing)}"
        )
    if _stays_failed(row) and not source_changed(row.sources, observed.listed or ()):
        return PlannedState(row.stage, row.cause, row.reason)
    if row.stage is Stage.WAITING and row.wait_until is not None and not is_due(row.wait_until, now):
        return PlannedState(Stage.WAITING, row.cause, row.reason, row.wait_until)
    return PlannedState(Stage.PENDING)


def is_due(until: float, now: float) -> bool:
    """Return True if a wait is over (unix seconds), or lies so far ahead that a clock was wrong."""
    return not now < until <= now + MAX_WAIT_SECONDS


def _stays_failed(row: PerformanceRow) -> bool:
    """Return True if only another file, or a person, can help.

    Most failed downloads are retried by every run; what was too large is measured again, with today's limits.
    """
    if row.forced or row.cause is Cause.TOO_LARGE:
        return False
    return row.stage is Stage.FAILED or (row.stage is Stage.DOWNLOAD_FAILED and row.cause is Cause.SOURCE_DIFFERS)


def _joined(names: tuple[str, ...]) -> str:
    return " and ".join(names)
