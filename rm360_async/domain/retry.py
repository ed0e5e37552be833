"""What follows from a failure: retry now, later, at a given time, or never. Decided here and nowhere else.

The delay is that of `decide_retry`, but for a quota, which the download dates (`Fault.until`). The scheduler starts
the retry when a downloader is free; a job with bytes on disk retries in place (`pipeline`). A failure that does not
count as a try may repeat without end, so its delay doubles too: no performance keeps a downloader from the others.

`now` and `chance` (the jitter, in [0, 1)) are arguments, so that every decision can be tested as a table.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from rm360_async.domain.errors import Answer, Cause, Fault, Scope
from rm360_async.domain.stage import CLAIMED_STAGES, Stage
from rm360_async.domain.state import HOUR, PerformanceRow

MAX_THROTTLE_SECONDS = 600.0
"""After so long a remote that refused everything is asked again: a probe costs it one request."""
PROGRESS_BYTES = 2**20
"""After so many downloaded bytes an interruption does not count as a try."""
_MAX_BACKOFF_SECONDS = HOUR
MIN_PAUSE_SECONDS = 0.25
"""Between two attempts of which the first did not count as a try, however short `retry_delay` is."""
_INTERRUPTIONS = frozenset({Cause.NETWORK, Cause.STALL, Cause.TRUNCATED, Cause.SERVER_ERROR})
_DEATHS = frozenset({Cause.TERMINATED, Cause.WORKER_DIED})
MAX_START_FAILURES = 3
"""Processes of different performances that ended before they began, in a row."""
_MIN_MACHINE_PAUSE_SECONDS = 60.0
_FAULTS_OF_THE_FILE = frozenset({Cause.UNREADABLE, Cause.DAMAGED, Cause.TOO_LARGE})


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how soon to retry; seconds."""

    max_retries: int = 3
    retry_delay: float = 30.0
    quota_wait: float = 24 * HOUR
    max_start_failures: int = MAX_START_FAILURES


@dataclass(frozen=True)
class RetryDecision:
    """What follows from a failure: the new stage, when to retry (unix seconds), and whether it counts as a try."""

    stage: Stage
    wait_until: float | None = None
    counts_as_try: bool = True


def decide_retry(
    fault: Fault,
    row: PerformanceRow,
    policy: RetryPolicy,
    now: float,
    chance: float,
    fetched_bytes: int = 0,
    fruitless: int = 0,
    *,
    ends_run: bool = False,
) -> RetryDecision:
    """Return what follows from a failure of `row`, whose stage says how far it had come.

    `row.tries` counts the attempts before this one that counted as a try; a performance is tried `1 + max_retries`
    times, then it has failed. A transfer that was interrupted after `PROGRESS_BYTES` does not count: a file of 60 GB
    may need more connections than that. A failure of the remote (a rate limit, no connection) does not count
    either: all downloads slow down together instead (`download.throttle`). Nor does a process that the machine did not
    let start: the whole run pauses instead (`pipeline.machine_pause`). Nor does what a node of a cluster is to blame
    for: another node goes on at once (`cluster.losses`). `fruitless` counts the attempts in a row
    before this one that failed and brought next to nothing (`is_fruitless`). `ends_run`: a person must fix it, and it
    has lasted (`domain.doubt`); until then the performance waits, at no cost.
    """
    answer, cause = fault.cause.answer, fault.cause
    if ends_run or cause.scope is Scope.NODE:
        return RetryDecision(Stage.PENDING, counts_as_try=False)
    # The budget waits for space on a full disk: the pause only keeps a wrong guess from running hot.
    if answer is Answer.STOP or cause.scope in (Scope.REMOTE, Scope.MACHINE) or cause is Cause.DISK_FULL:
        return RetryDecision(Stage.WAITING, now + throttle_delay(fruitless, policy, chance), counts_as_try=False)
    if answer is Answer.WAIT_UNTIL:
        return RetryDecision(Stage.WAITING, fault.until or now + policy.quota_wait, counts_as_try=False)
    counts = cause not in _INTERRUPTIONS or is_fruitless(fetched_bytes)
    if answer is Answer.GIVE_UP or (counts and row.tries >= policy.max_retries):
        return RetryDecision(_final_stage(fault, row.stage))
    until = None if answer is Answer.RETRY_NOW else now + backoff(row.tries, policy.retry_delay, chance)
    return RetryDecision(Stage.PENDING if until is None else Stage.WAITING, until, counts_as_try=counts)


def is_caused_by_stop(fault: Fault) -> bool:
    """Return True if a failure while the service stops may come from the stop itself, and is therefore not recorded.

    Batch systems and systemd's control-group mode send TERM to every process: an rclone ends, its connections break.
    What is known of the file (damaged, not found, its quota) or needs a person stays true after the stop.
    """
    return fault.cause.answer in (Answer.BACK_OFF, Answer.RETRY_NOW)


def may_precede_stop(fault: Fault) -> bool:
    """Return True if a signal may have ended a child just before the service got the same signal."""
    return fault.cause in _DEATHS


def pauses_machine(performances: Collection[object], policy: RetryPolicy) -> bool:
    """Return True if so many different performances in a row failed before their process began that all would."""
    return len(performances) >= policy.max_start_failures


def machine_pause(probes: int) -> float:
    """Return the seconds until a worker is tried again, after `probes` trials that failed."""
    return min(_MIN_MACHINE_PAUSE_SECONDS * float(2 ** min(probes, 20)), MAX_THROTTLE_SECONDS)


def throttle_delay(failures: int, policy: RetryPolicy, chance: float) -> float:
    """Return the seconds until what failed `failures` times in a row before (from 0) is asked again.

    Of a remote that sets limits, and of a performance that failed through no fault of its own.
    """
    return min(backoff(failures, max(policy.retry_delay, MIN_PAUSE_SECONDS), chance), MAX_THROTTLE_SECONDS)


def is_fruitless(fetched_bytes: int) -> bool:
    """Return True if an attempt that downloaded so many bytes brought next to nothing."""
    return fetched_bytes < PROGRESS_BYTES


def backoff(tries: int, delay: float, chance: float) -> float:
    """Return the seconds to wait after try number `tries` (from 0): doubling, +-20 %, at most an hour."""
    doubled = min(delay * float(2 ** min(tries, 20)), _MAX_BACKOFF_SECONDS)
    return doubled * (0.8 + 0.4 * chance)


def _final_stage(fault: Fault, stage: Stage) -> Stage:
    downloading = stage not in CLAIMED_STAGES or stage is Stage.DOWNLOADING
    return Stage.DOWNLOAD_FAILED if downloading and fault.cause not in _FAULTS_OF_THE_FILE else Stage.FAILED
