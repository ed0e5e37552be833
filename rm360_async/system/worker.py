"""The worker's side of the protocol between the service and its workers: JSON lines on standard output.

A worker limits itself, imports what its job needs, writes `{"started": true}`, and only then reads its job, one line on
standard input. A death before that line is therefore never the job's fault. `MessageWriter` writes all further lines.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from rm360_async.system.fault_points import reach

_NICE = 5
_OOM_SCORE = 500
_PROGRESS_SECONDS = 0.5


def start_worker(module: str, memory_bytes: str) -> int:
    """Do the job on standard input with `main(job, messages)` of a module, under a limit of memory; return its code."""
    messages = MessageWriter()
    limit_process(int(memory_bytes))
    main: Callable[[str, MessageWriter], int] = import_module(module).main
    reach("worker begins")
    messages.send({"started": True})
    job = sys.stdin.buffer.readline()
    return main(job.decode(), messages) if job else 0  # no job: the service has ended, or needs this worker no more


def limit_process(memory_bytes: int) -> None:
    """Limit this process's memory, let it dump no core, and give way to the downloads.

    It has a lower priority than the service, and is the first to be killed if the machine runs out of memory. A limit
    that the system sets already (a batch system, a container) is not raised, and what it forbids is passed over: the
    work itself is still possible.
    """
    faulthandler.enable()
    _lower_limit(resource.RLIMIT_AS, memory_bytes)
    _lower_limit(resource.RLIMIT_CORE, 0)
    with suppress(OSError):
        os.nice(_NICE)
    with suppress(OSError, ValueError):
        score = Path("/proc/self/oom_score_adj")
        if int(score.read_text()) < _OOM_SCORE:  # it may be raised by anyone, and lowered by hardly anyone
            score.write_text(str(_OOM_SCORE))


def _lower_limit(kind: int, limit: int) -> None:
    """Set a limit of resources, or keep the lower one that is set already."""
    with suppress(OSError, ValueError):
        current = [each for each in resource.getrlimit(kind) if each != resource.RLIM_INFINITY]
        lowest = min([limit, *current])
        resource.setrlimit(kind, (lowest, lowest))


class MessageWriter:
    """Writes messages as JSON lines to the real standard output, progress at a limited rate.

    Libraries that print must not get between the lines, so descriptor 1 becomes standard error.
    """

    def __init__(self) -> None:
        self._output = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._next_progress = 0.0
        self._lock = threading.Lock()

    def send(self, message: Mapping[str, Any]) -> None:
        """Write one message."""
        with self._lock:
            self._output.write(json.dumps(message) + "\n")
            self._output.flush()

    def send_progress(self, *counts: int) -> None:
        """Write a progress message unless one was written just now; may be called from several threads."""
        now = time.monotonic()
        if now >= self._next_progress:
            self._next_progress = now + _PROGRESS_SECONDS
            self.send({"progress": counts})
