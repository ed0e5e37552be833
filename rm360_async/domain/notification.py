"""The events of a run that a user can have reported by a command of their own (`notify` in the config)."""

from __future__ import annotations

from enum import Enum

from rm360_async.domain.counts import StateCounts
from rm360_async.domain.exit_code import ExitCode


class NotifyEvent(str, Enum):
    """An event of a run; the value is what `notify.on` lists and what the command gets as RM360_EVENT."""

    DONE = "done"
    """The run has ended, and everything is completed."""
    FAILED = "failed"
    """A performance has failed, the run has ended with failures, or it cannot continue."""
    WAITING = "waiting"
    """Nothing is downloaded or extracted for a while, or the run has ended because it would have to wait."""
    STOPPED = "stopped"
    """The run was stopped with work left."""
    DISK_LOW = "disk_low"
    """Jobs wait because a disk is full."""


def event_at_end(code: int, counts: StateCounts, *, stopped: bool) -> NotifyEvent:
    """Return what the end of a run with this exit code is; `stopped`: a stop was asked for, and left work."""
    if code == ExitCode.DONE:
        return NotifyEvent.DONE
    if stopped:
        return NotifyEvent.STOPPED
    only_waits = code == ExitCode.SOME_FAILED and counts.waiting and not counts.failed
    return NotifyEvent.WAITING if only_waits else NotifyEvent.FAILED
