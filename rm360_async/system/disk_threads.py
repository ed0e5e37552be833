"""Calls that wait for a disk run on threads of their own, never on the event loop's thread.

Theory of operation. One call on a disk that is slow, full of work or gone (a network mount) takes seconds or does not
return at all. On the event loop's thread it would stop every download, every timer and the heartbeat for systemd. So
whatever a task does with files, folders, locks of files and free space goes through `on_disk_thread`.

The threads are bounded apart from those of other libraries, and so many that a disk which does not answer cannot use
them up: each active job waits for a few calls at most, and the pipeline bounds the jobs. So the calls on other disks
go on.

A call that has begun is not cancelled: half of a rename is not a state. A cancelled task waits for its call, and what
scans much (`import`, `plan`) asks `stop_if_cancelled` between two steps.

These calls stay on the event loop's thread, because they do not wait for a disk that holds data: the start of a child
process (the kernel ties its end to the thread that starts it, see `processes`), pipes, sockets, `fstat` of a pipe, the
terminal, and reads below /proc and /dev.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Empty, Queue
from typing import TypeVar

from anyio import CapacityLimiter, from_thread, to_thread
from anyio.lowlevel import RunVar

Result = TypeVar("Result")
MAX_DISK_THREADS = 256
ANSWER_SECONDS = 5.0
_limiter: RunVar[CapacityLimiter] = RunVar("disk threads")


async def on_disk_thread(function: Callable[..., Result], *arguments: object, abandon: bool = False) -> Result:
    """Return what the function returns for the arguments, or raise what it raises; it runs on a disk thread.

    A cancellation is raised once the function has returned; with `abandon`, for a function that only reads, at once.
    """
    limiter = _limiter.get(None)
    if limiter is None:
        limiter = CapacityLimiter(MAX_DISK_THREADS)
        _limiter.set(limiter)
    return await to_thread.run_sync(function, *arguments, limiter=limiter, abandon_on_cancel=abandon)


def unreadable_reason(folder: Path, seconds: float = ANSWER_SECONDS) -> str:
    """Return why a folder cannot be read, "" if it can or does not exist; a disk has so many seconds to answer.

    The thread that asks is left behind if it gets no answer, and does not keep the program from ending. So this is
    for commands that report about disks; a run waits for them.
    """
    answers: Queue[str] = Queue()

    def ask() -> None:
        try:
            os.scandir(folder).close()
            answers.put("")
        except FileNotFoundError:
            answers.put("")
        except OSError as error:
            answers.put(error.strerror or str(error))

    threading.Thread(target=ask, daemon=True).start()
    try:
        return answers.get(timeout=seconds)
    except Empty:
        return f"its disk did not answer within {seconds:.0f} s"


def stop_if_cancelled() -> None:
    """Raise the cancellation of the task that waits for this disk thread, if there is one.

    To be called between two steps of a long scan. Does nothing on a thread that no task waits for.
    """
    try:
        from_thread.check_cancelled()
    except RuntimeError:  # called outside of a disk thread, by a test or a program without an event loop
        return
