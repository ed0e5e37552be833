"""Which failures end a run, and how long each must last before it does. Decided here and nowhere else.

A refused login, a root folder that is gone, a remote that rclone.conf does not have: a person must fix these, if they
last. But a login is refused for minutes while Google has trouble, rclone.conf is away for a moment while another
rclone saves a token to it, and a network comes up after the service. So such a failure is first only a doubt: it is
said at once (log, `rm360 status`, systemd's status line), everything that depends on it pauses, and the question is
asked again and again with a fresh rclone. It ends the run once it has lasted, that is has been the answer to every
question for so long, with no success in between.

How long depends on who is there and on what is lost. At the start nothing is lost: a person at a terminal gets the
message at once, and so does a script, with the exit code. A service manager would only start the run again: there the
network gets a day and a login an hour. After the start the work of days is at stake, so every doubt is given time.

Times are monotonic seconds, and the patience is a multiple of `retry_delay`, the user's own measure of impatience.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from rm360_async.domain.errors import Answer, Cause, Fault
from rm360_async.domain.retry import MAX_THROTTLE_SECONDS, MIN_PAUSE_SECONDS, RetryPolicy, backoff

MIN_DELAY_SECONDS = 1.5
"""The patience is computed with at least this `retry_delay`."""
_MAX_QUESTION_SECONDS = 300.0
"""Seconds between two questions at the start, at most: a network that has come is noticed within five minutes."""
MAX_GAP_SECONDS = 1800.0
"""A doubt is over if nothing has confirmed it for so long."""

# In multiples of retry_delay, which is 30 s unless it is configured.
_MID_RUN, _SERVICE_MID_RUN, _MACHINE_MID_RUN = 60, 120, 10
_SERVICE_LOGIN, _SERVICE_NETWORK = 120, 2880
_OF_THIS_MACHINE = frozenset({Cause.NOT_WRITABLE, Cause.LEDGER})


class Attendance(Enum):
    """Who is there when a run fails."""

    TERMINAL = "a person at a terminal"
    SCRIPT = "a script, which gets the exit code"
    SERVICE = "a service manager, which starts the run again"


@dataclass(frozen=True)
class Patience:
    """How long a failure must last before it ends the run, and how often it must be met again."""

    seconds: float
    retries: int = 0


def patience_at_start(cause: Cause, attendance: Attendance, policy: RetryPolicy) -> Patience:
    """Return how long a failure must last before it ends a run that could not begin."""
    if cause is Cause.RATE_LIMIT:  # it says that everything else is right
        return Patience(math.inf)
    passing = cause.answer in (Answer.BACK_OFF, Answer.RETRY_NOW)
    if cause in _OF_THIS_MACHINE:
        return Patience(0.0)
    if attendance is Attendance.SERVICE:
        return _patience(_SERVICE_NETWORK if passing else _SERVICE_LOGIN, policy)
    if not passing or (cause is Cause.UNREACHABLE and attendance is Attendance.TERMINAL):
        return Patience(0.0)
    return Patience(0.0, policy.max_retries)


def patience_in_mid_run(cause: Cause, attendance: Attendance, policy: RetryPolicy) -> Patience:
    """Return how long a failure must last before it ends a run that has begun."""
    if cause.answer is not Answer.STOP:
        return Patience(math.inf)
    if cause is Cause.LEDGER:  # without it nothing can be recorded, not even that it is waited for
        return Patience(0.0)
    if cause is Cause.NOT_WRITABLE:  # it passes when a disk is mounted again, which takes no hour
        return Patience(_MACHINE_MID_RUN * max(policy.retry_delay, MIN_PAUSE_SECONDS))
    return _patience(_SERVICE_MID_RUN if attendance is Attendance.SERVICE else _MID_RUN, policy)


def depends_on_remote(cause: Cause) -> bool:
    """Return True if bytes that arrive from the remote show that the failure is over."""
    return cause not in _OF_THIS_MACHINE


def _patience(delays: int, policy: RetryPolicy) -> Patience:
    return Patience(delays * max(policy.retry_delay, MIN_DELAY_SECONDS))


@dataclass(frozen=True)
class Doubt:
    """A failure that ends the run if it lasts; `fault` is the first, which says best what is wrong.

    `successes` is what had succeeded by then, as a number that only grows (bytes downloaded, folders published).
    """

    fault: Fault
    since: float
    last: float
    failures: int
    successes: int


def confirmed(doubt: Doubt | None, fault: Fault, now: float, successes: int) -> Doubt:
    """Return the doubt after one more failure: a new one if something has succeeded since, or it was long ago."""
    if doubt is None or successes > doubt.successes or now - doubt.last > MAX_GAP_SECONDS:
        return Doubt(fault, now, now, 1, successes)
    return Doubt(doubt.fault, doubt.since, now, doubt.failures + 1, successes)


def is_believed(doubt: Doubt, patience: Patience) -> bool:
    """Return True if the failure has lasted, so that it ends the run."""
    return doubt.last - doubt.since >= patience.seconds and doubt.failures > patience.retries


def question_delay(cause: Cause, doubt: Doubt, policy: RetryPolicy, chance: float) -> float:
    """Return the seconds until a run that could not begin asks again: twice as long each time."""
    longest = MAX_THROTTLE_SECONDS if cause is Cause.RATE_LIMIT else _MAX_QUESTION_SECONDS
    return min(backoff(doubt.failures - 1, policy.retry_delay, chance), longest)
