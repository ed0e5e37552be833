"""Decisions without I/O: what is left to do with a performance, and what follows from a failure.

`now` and `chance` are arguments, so that every decision can be tested as a table. `decide_state` serves the
first start and the hundredth resume alike: it looks only at the row, at what lies on disk, and at what the
remote lists. Retrying is decided in `after_fault` and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

from rm360_async.domain.errors import Cause
from rm360_async.domain.names import Performance
from rm360_async.domain.record import EarlierRecord, Record, SourceFile
from rm360_async.domain.stage import Stage

HOUR = 3600.0
LONGEST_WAIT = 7 * 24 * HOUR
"""Seconds of the longest wait that is ever noted: one that seems longer was noted by a clock that was wrong."""


@dataclass(frozen=True)
class PerformanceRow:
    """What the ledger knows of one performance; times are unix seconds, sizes bytes."""

    performance: Performance
    stage: Stage
    tries: int = 0
    """Attempts that were charged to it since it was last pending by a person's wish."""
    cause: Cause | None = None
    reason: str = ""
    wait_until: float | None = None
    forced: bool = False
    """To be extracted again although it is published (`--force`)."""
    cameras_extracted: int = 0
    frames: int = 0
    bytes: int = 0
    """Size of the published folder."""
    updated: float = 0.0
    sources: tuple[SourceFile, ...] = ()
    """The remote's files as last listed."""
    verdict: str = ""
    """Of a published folder: complete, complete as released, or damaged and with what."""


@dataclass(frozen=True)
class Observed:
    """What was found outside the ledger: the published marker, and the files that the remote lists.

    `listed` is None when the remote was not asked; `lacking` names the wanted files that it does not have.
    """

    published: Record | EarlierRecord | None = None
    listed: tuple[SourceFile, ...] | None = None
    lacking: tuple[str, ...] = ()
    incomplete: bool = False
    """The published folder lacks something that is wanted by now, and is to be completed."""


@dataclass(frozen=True)
class PlannedState:
    """Where a performance truly stands at the start of a run, and the sentence for it."""

    stage: Stage
    cause: Cause | None = None
    reason: str = ""
    wait_until: float | None = None


def source_changed(before: tuple[SourceFile, ...], now: tuple[SourceFile, ...]) -> bool:
    """Tell whether the remote's files differ from the ones known earlier, by size, md5 or time."""
    earlier = {source.path: source for source in before}
    return any(_differs(earlier.get(source.path), source) for source in now)


def _differs(old: SourceFile | None, new: SourceFile) -> bool:
    if old is None or old.size != new.size:
        return True
    if old.md5 and new.md5:
        return old.md5 != new.md5
    return bool(old.modified and new.modified and old.modified != new.modified)


def decide_state(row: PerformanceRow, evidence: Observed, now: float) -> PlannedState:
    """Return where the performance stands: the disk decides about content, the ledger about intent."""
    completed = evidence.published is not None and not row.forced
    if completed and (evidence.lacking or not evidence.incomplete):
        return PlannedState(Stage.COMPLETED)
    if evidence.lacking:
        return PlannedState(
            Stage.DOWNLOAD_FAILED, Cause.NOT_FOUND, f"the remote does not have {_and(evidence.lacking)}"
        )
    if _stays_failed(row) and not source_changed(row.sources, evidence.listed or ()):
        return PlannedState(row.stage, row.cause, row.reason)
    if row.stage is Stage.WAITING and row.wait_until is not None and not is_due(row.wait_until, now):
        return PlannedState(Stage.WAITING, row.cause, row.reason, row.wait_until)
    return PlannedState(Stage.PENDING)


def is_due(until: float, now: float) -> bool:
    """Tell whether a wait is over (unix seconds), or is one that nobody can have meant."""
    return not now < until <= now + LONGEST_WAIT


def _stays_failed(row: PerformanceRow) -> bool:
    """Tell whether only another file, or a person's wish, can help.

    Most failed downloads are tried by every run; what was too large is measured again, with the limits of today.
    """
    if row.forced or row.cause is Cause.TOO_LARGE:
        return False
    return row.stage is Stage.FAILED or (row.stage is Stage.DOWNLOAD_FAILED and row.cause is Cause.SOURCE_DIFFERS)


def _and(names: tuple[str, ...]) -> str:
    return " and ".join(names)
