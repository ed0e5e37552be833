"""Every failure by its cause, and what is done about it.

Theory of operation. A failure anywhere becomes a `Fault` with one `Cause`. The cause alone decides the `Answer`
(retry now, back off, wait until, give up, stop) and the `Scope` (what the failure belongs to), so that what follows
from a failure is decided in one place (`domain.retry.decide_retry`). The message is the sentence that a person reads
in the manifest; the hint is the command or the act that fixes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Answer(Enum):
    """What the service does about a failure."""

    RETRY_NOW = "retry now"
    BACK_OFF = "back off"
    WAIT_UNTIL = "wait until"
    GIVE_UP = "give up"
    STOP = "stop"
    """A person must fix it: the run stops, once it has lasted (`domain.doubt`)."""


class Scope(Enum):
    """What a failure belongs to."""

    PERFORMANCE = "this performance"
    REMOTE = "this remote"
    DISK = "the disk"
    MACHINE = "the machine"
    NODE = "a node of the cluster"
    SERVICE = "the service"


@dataclass(frozen=True)
class _Rule:
    code: str
    answer: Answer
    scope: Scope


class Cause(Enum):
    """The known causes; the value holds the code for the ledger, the answer and the scope."""

    NOT_FOUND = _Rule("not found", Answer.GIVE_UP, Scope.PERFORMANCE)
    DUPLICATE_NAME = _Rule("duplicate name", Answer.GIVE_UP, Scope.PERFORMANCE)
    RATE_LIMIT = _Rule("rate limit", Answer.BACK_OFF, Scope.REMOTE)
    FILE_QUOTA = _Rule("quota of this file", Answer.WAIT_UNTIL, Scope.PERFORMANCE)
    ABUSIVE_FILE = _Rule("flagged file", Answer.GIVE_UP, Scope.PERFORMANCE)
    FORBIDDEN = _Rule("forbidden", Answer.GIVE_UP, Scope.PERFORMANCE)
    AUTH = _Rule("authentication", Answer.STOP, Scope.SERVICE)
    REMOTE_UNKNOWN = _Rule("remote unknown", Answer.STOP, Scope.SERVICE)
    RCLONE_MISSING = _Rule("rclone missing", Answer.STOP, Scope.SERVICE)
    UNREACHABLE = _Rule("no connection", Answer.BACK_OFF, Scope.REMOTE)
    NETWORK = _Rule("network", Answer.BACK_OFF, Scope.PERFORMANCE)
    STALL = _Rule("stall", Answer.RETRY_NOW, Scope.PERFORMANCE)
    TRUNCATED = _Rule("truncated", Answer.BACK_OFF, Scope.PERFORMANCE)
    SERVER_ERROR = _Rule("server error", Answer.BACK_OFF, Scope.PERFORMANCE)
    MISMATCH = _Rule("md5 mismatch", Answer.BACK_OFF, Scope.PERFORMANCE)
    SOURCE_DIFFERS = _Rule("source differs", Answer.GIVE_UP, Scope.PERFORMANCE)
    UNKNOWN = _Rule("unknown", Answer.BACK_OFF, Scope.PERFORMANCE)
    DISK_FULL = _Rule("disk full", Answer.WAIT_UNTIL, Scope.DISK)
    TOO_LARGE = _Rule("too large", Answer.GIVE_UP, Scope.PERFORMANCE)
    UNREADABLE = _Rule("unreadable file", Answer.GIVE_UP, Scope.PERFORMANCE)
    NOT_FETCHED = _Rule("not fetched", Answer.RETRY_NOW, Scope.PERFORMANCE)
    DAMAGED = _Rule("damaged file", Answer.GIVE_UP, Scope.PERFORMANCE)
    IN_THE_WAY = _Rule("in the way", Answer.GIVE_UP, Scope.PERFORMANCE)
    WORKER_DIED = _Rule("worker died", Answer.BACK_OFF, Scope.PERFORMANCE)
    NOT_STARTED = _Rule("process not started", Answer.BACK_OFF, Scope.MACHINE)
    TERMINATED = _Rule("ended by a signal", Answer.BACK_OFF, Scope.PERFORMANCE)
    DEADLINE = _Rule("deadline", Answer.BACK_OFF, Scope.PERFORMANCE)
    NODE_LOST = _Rule("node lost", Answer.RETRY_NOW, Scope.NODE)
    NODE_LEAVES = _Rule("node leaves", Answer.RETRY_NOW, Scope.NODE)
    NODE_UNFIT = _Rule("node unfit", Answer.RETRY_NOW, Scope.NODE)
    NOT_WRITABLE = _Rule("not writable", Answer.STOP, Scope.SERVICE)
    LEDGER = _Rule("ledger", Answer.STOP, Scope.SERVICE)

    @property
    def code(self) -> str:
        """Return the cause as the ledger stores it and a person reads it."""
        return self.value.code

    @property
    def answer(self) -> Answer:
        """Return how rm360 reacts."""
        return self.value.answer

    @property
    def scope(self) -> Scope:
        """Return what the failure belongs to."""
        return self.value.scope

    @classmethod
    def from_code(cls, code: str) -> Cause:
        """Return the cause with a stored code; UNKNOWN for a code of another version."""
        return next((cause for cause in cls if cause.code == code), cls.UNKNOWN)


class Fault(Exception):
    """A failure with its cause: `message` says what failed, on what and why, `hint` what to do.

    `until` (unix seconds) is when to continue, if that is known.
    """

    def __init__(self, cause: Cause, message: str, hint: str = "", *, until: float | None = None) -> None:
        super().__init__(message)
        self.until = until
        self.cause = cause
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class BadRequest(Exception):
    """A command line or a config that cannot be carried out (exit 2); each entry is one line."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
