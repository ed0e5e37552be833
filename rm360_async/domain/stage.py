"""The stages of a performance and the table of legal moves between them.

`pending -> downloading -> downloaded -> extracting -> publishing -> completed` is the walk. The stages of
`CLAIMED_STAGES` are never believed after a crash: they are true only while a live process holds the claim of the
performance (a lock that the kernel drops). Without a claim such a row counts as pending.
"""

from __future__ import annotations

from enum import Enum


class Stage(str, Enum):
    """The stage of a performance; the value is its status in the manifest."""

    PENDING = "pending"
    DOWNLOADING = "downloading"
    DOWNLOADED = "downloaded"
    EXTRACTING = "extracting"
    PUBLISHING = "publishing"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    DOWNLOAD_FAILED = "download_failed"


CLAIMED_STAGES = frozenset({Stage.DOWNLOADING, Stage.DOWNLOADED, Stage.EXTRACTING, Stage.PUBLISHING})
"""Stages that are true only while a live process holds the performance's claim."""

ENDED = frozenset({Stage.COMPLETED, Stage.FAILED, Stage.DOWNLOAD_FAILED})
"""Stages in which nothing more happens by itself."""

FAILURES = frozenset({Stage.FAILED, Stage.DOWNLOAD_FAILED})

_SETBACKS = frozenset({Stage.PENDING, Stage.WAITING, Stage.FAILED, Stage.DOWNLOAD_FAILED})

MOVES: dict[Stage, frozenset[Stage]] = {
    Stage.PENDING: frozenset({Stage.DOWNLOADING, Stage.DOWNLOADED, Stage.EXTRACTING, Stage.COMPLETED}) | _SETBACKS,
    Stage.DOWNLOADING: frozenset({Stage.DOWNLOADED, Stage.COMPLETED}) | _SETBACKS,
    Stage.DOWNLOADED: frozenset({Stage.EXTRACTING, Stage.COMPLETED}) | _SETBACKS,
    Stage.EXTRACTING: frozenset({Stage.PUBLISHING, Stage.COMPLETED}) | _SETBACKS,
    Stage.PUBLISHING: frozenset({Stage.COMPLETED}) | _SETBACKS,
    Stage.WAITING: frozenset({Stage.DOWNLOADING, Stage.DOWNLOADED, Stage.EXTRACTING, Stage.COMPLETED}) | _SETBACKS,
    Stage.COMPLETED: frozenset({Stage.PENDING, Stage.COMPLETED}),
    Stage.FAILED: frozenset({Stage.PENDING, Stage.COMPLETED}),
    Stage.DOWNLOAD_FAILED: frozenset({Stage.PENDING, Stage.COMPLETED, Stage.FAILED}),
}


class IllegalMove(Exception):
    """A change of stage that the table does not have: a bug in rm360."""


def check_move(old: Stage, new: Stage) -> None:
    """Raise IllegalMove unless the table has the move from `old` to `new`."""
    if new not in MOVES[old]:
        raise IllegalMove(f"a performance cannot go from {old.value} to {new.value}")
