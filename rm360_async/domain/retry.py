"""Decisions without I/O: what follows from a failure. Retrying is decided in `decide_retry` and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

from rm360_async.domain.errors import Answer, Cause, Fault, Scope
from rm360_async.domain.stage import IN_HAND, Stage
from rm360_async.domain.state import HOUR, PerformanceRow

_LONGEST_BACK_OFF = HOUR
LONGEST_PAUSE = 600.0
"""Seconds after which a remote that refused everything is asked again: a probe costs it one request."""
_SHORTEST_PAUSE = 0.25
PROGRESS = 2**20
"""Bytes that an attempt must bring so that its end by the network is not charged."""
_CUT_OFF = frozenset({Cause.NETWORK, Cause.STALL, Cause.TRUNCATED, Cause.SERVER_ERROR})


@dataclass(frozen=True)
class RetryPolicy:
    """The knobs of retrying; seconds."""

    max_retries: int = 3
    retry_delay: float = 30.0
    quota_wait: float = 24 * HOUR


@dataclass(frozen=True)
class RetryDecision:
    """What follows from a failure: the new stage, when to try again, and whether it costs a try."""

    stage: Stage
    wait_until: float | None = None
    charge: bool = True
    stop: bool = False


def decide_retry(
    fault: Fault, row: PerformanceRow, rules: RetryPolicy, now: float, chance: float, fetched_bytes: int = 0
) -> RetryDecision:
    """Return what follows from a failure of `row`, whose stage says how far it had come.

    `chance` in [0, 1) is the jitter. `row.tries` counts the charged attempts before this one; a performance
    is tried `1 + max_retries` times, then it has failed. A transfer that was cut off after it had brought
    `PROGRESS` bytes costs no try: a file of 60 GB may need more connections than that. What is the remote's
    (a rate limit, no connection) costs none either: all downloads slow down together instead (`throttle`).
    """
    answer, cause = fault.cause.answer, fault.cause
    if answer is Answer.STOP or cause.scope is Scope.REMOTE:
        return RetryDecision(Stage.PENDING, charge=False, stop=answer is Answer.STOP)
    if answer is Answer.WAIT_UNTIL:
        # A full disk has its own waiting for room (`budget`); the pause only keeps a wrong guess from running hot.
        pause = max(rules.retry_delay, _SHORTEST_PAUSE) if cause is Cause.DISK_FULL else rules.quota_wait
        return RetryDecision(Stage.WAITING, fault.until or now + pause, charge=False)
    charge = cause not in _CUT_OFF or fetched_bytes < PROGRESS
    if answer is Answer.GIVE_UP or (charge and row.tries >= rules.max_retries):
        return RetryDecision(_end_of(fault, row.stage))
    if answer is Answer.RETRY_NOW:
        return RetryDecision(Stage.PENDING, charge=charge)
    return RetryDecision(Stage.WAITING, now + back_off(row.tries, rules.retry_delay, chance), charge=charge)


def startup_retry_delay(fault: Fault, tries: int, rules: RetryPolicy, chance: float) -> float | None:
    """Return the seconds until the remote is asked again at the start of a run; None when the run cannot begin.

    `tries` counts the failures before this one. Nothing is in hand yet and a person may be looking on, so only
    a rate limit, which says that all the rest is right, is waited out for as long as it takes.
    """
    passing = fault.cause.answer in (Answer.BACK_OFF, Answer.RETRY_NOW)
    if not passing or (tries >= rules.max_retries and fault.cause is not Cause.RATE_LIMIT):
        return None
    return min(back_off(tries, rules.retry_delay, chance), LONGEST_PAUSE)


def throttle_delay(limits: int, rules: RetryPolicy, chance: float) -> float:
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
