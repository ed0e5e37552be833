"""Decisions without I/O: what is left to do with a performance, and what follows from a failure.

`now` and `chance` are arguments, so that every decision can be tested as a table. `standing` serves the
first start and the hundredth resume alike: it looks only at the row, at what lies on disk, and at what the
remote lists. Retrying is decided in `after_fault` and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass

from rm360_async.catalog import Performance
from rm360_async.errors import Answer, Cause, Fault, Scope
from rm360_async.lifecycle import IN_HAND, Stage
from rm360_async.record import EarlierRecord, Record, SourceFile

HOUR = 3600.0
_LONGEST_BACK_OFF = HOUR
LONGEST_PAUSE = 600.0
"""Seconds after which a remote that refused everything is asked again: a probe costs it one request."""
_SHORTEST_PAUSE = 0.25
PROGRESS = 2**20
"""Bytes that an attempt must bring so that its end by the network is not charged."""
LONGEST_WAIT = 7 * 24 * HOUR
"""Seconds of the longest wait that is ever noted: one that seems longer was noted by a clock that was wrong."""
_CUT_OFF = frozenset({Cause.NETWORK, Cause.STALL, Cause.TRUNCATED, Cause.SERVER_ERROR})


@dataclass(frozen=True)
class Row:
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
class Evidence:
    """What was found outside the ledger: the published marker, and the files that the remote lists.

    `listed` is None when the remote was not asked; `lacking` names the wanted files that it does not have.
    """

    published: Record | EarlierRecord | None = None
    listed: tuple[SourceFile, ...] | None = None
    lacking: tuple[str, ...] = ()
    incomplete: bool = False
    """The published folder lacks something that is wanted by now, and is to be completed."""


@dataclass(frozen=True)
class Standing:
    """Where a performance truly stands at the start of a run, and the sentence for it."""

    stage: Stage
    cause: Cause | None = None
    reason: str = ""
    wait_until: float | None = None


@dataclass(frozen=True)
class RetryRules:
    """The knobs of retrying; seconds."""

    max_retries: int = 3
    retry_delay: float = 30.0
    quota_wait: float = 24 * HOUR


@dataclass(frozen=True)
class Verdict:
    """What follows from a failure: the new stage, when to try again, and whether it costs a try."""

    stage: Stage
    wait_until: float | None = None
    charge: bool = True
    stop: bool = False


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


def standing(row: Row, evidence: Evidence, now: float) -> Standing:
    """Return where the performance stands: the disk decides about content, the ledger about intent."""
    completed = evidence.published is not None and not row.forced
    if completed and (evidence.lacking or not evidence.incomplete):
        return Standing(Stage.COMPLETED)
    if evidence.lacking:
        return Standing(Stage.DOWNLOAD_FAILED, Cause.NOT_FOUND, f"the remote does not have {_and(evidence.lacking)}")
    if _stays_failed(row) and not source_changed(row.sources, evidence.listed or ()):
        return Standing(row.stage, row.cause, row.reason)
    if row.stage is Stage.WAITING and row.wait_until is not None and not is_due(row.wait_until, now):
        return Standing(Stage.WAITING, row.cause, row.reason, row.wait_until)
    return Standing(Stage.PENDING)


def is_due(until: float, now: float) -> bool:
    """Tell whether a wait is over (unix seconds), or is one that nobody can have meant."""
    return not now < until <= now + LONGEST_WAIT


def _stays_failed(row: Row) -> bool:
    """Tell whether only another file, or a person's wish, can help.

    Most failed downloads are tried by every run; what was too large is measured again, with the limits of today.
    """
    if row.forced or row.cause is Cause.TOO_LARGE:
        return False
    return row.stage is Stage.FAILED or (row.stage is Stage.DOWNLOAD_FAILED and row.cause is Cause.SOURCE_DIFFERS)


def _and(names: tuple[str, ...]) -> str:
    return " and ".join(names)


def after_fault(
    fault: Fault, row: Row, rules: RetryRules, now: float, chance: float, fetched_bytes: int = 0
) -> Verdict:
    """Return what follows from a failure of `row`, whose stage says how far it had come.

    `chance` in [0, 1) is the jitter. `row.tries` counts the charged attempts before this one; a performance
    is tried `1 + max_retries` times, then it has failed. A transfer that was cut off after it had brought
    `PROGRESS` bytes costs no try: a file of 60 GB may need more connections than that. What is the remote's
    (a rate limit, no connection) costs none either: all downloads slow down together instead (`throttle`).
    """
    answer, cause = fault.cause.answer, fault.cause
    if answer is Answer.STOP or cause.scope is Scope.REMOTE:
        return Verdict(Stage.PENDING, charge=False, stop=answer is Answer.STOP)
    if answer is Answer.WAIT_UNTIL:
        # A full disk has its own waiting for room (`budget`); the pause only keeps a wrong guess from running hot.
        pause = max(rules.retry_delay, _SHORTEST_PAUSE) if cause is Cause.DISK_FULL else rules.quota_wait
        return Verdict(Stage.WAITING, fault.until or now + pause, charge=False)
    charge = cause not in _CUT_OFF or fetched_bytes < PROGRESS
    if answer is Answer.GIVE_UP or (charge and row.tries >= rules.max_retries):
        return Verdict(_end_of(fault, row.stage))
    if answer is Answer.RETRY_NOW:
        return Verdict(Stage.PENDING, charge=charge)
    return Verdict(Stage.WAITING, now + back_off(row.tries, rules.retry_delay, chance), charge=charge)


def ask_again(fault: Fault, tries: int, rules: RetryRules, chance: float) -> float | None:
    """Return the seconds until the remote is asked again at the start of a run; None when the run cannot begin.

    `tries` counts the failures before this one. Nothing is in hand yet and a person may be looking on, so only
    a rate limit, which says that all the rest is right, is waited out for as long as it takes.
    """
    passing = fault.cause.answer in (Answer.BACK_OFF, Answer.RETRY_NOW)
    if not passing or (tries >= rules.max_retries and fault.cause is not Cause.RATE_LIMIT):
        return None
    return min(back_off(tries, rules.retry_delay, chance), LONGEST_PAUSE)


def pause_of_all(limits: int, rules: RetryRules, chance: float) -> float:
    """Return the seconds for which no download starts after the remote's limit number `limits` (from 0) in a row."""
    return min(back_off(limits, max(rules.retry_delay, _SHORTEST_PAUSE), chance), LONGEST_PAUSE)


def back_off(tries: int, delay: float, chance: float) -> float:
    """Return the seconds to wait after try number `tries` (from 0): doubling, +-20 %, at most an hour."""
    doubled = min(delay * float(2 ** min(tries, 20)), _LONGEST_BACK_OFF)
    return doubled * (0.8 + 0.4 * chance)


_ABOUT_THE_FILE = frozenset({Cause.UNREADABLE, Cause.DAMAGED, Cause.TOO_LARGE})


def _end_of(fault: Fault, stage: Stage) -> Stage:
    downloading = stage not in IN_HAND or stage is Stage.DOWNLOADING
    return Stage.DOWNLOAD_FAILED if downloading and fault.cause not in _ABOUT_THE_FILE else Stage.FAILED
