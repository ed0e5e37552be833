"""The child side of `workers`: extract and seal one performance, and say so in JSON lines."""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rm360_async.errors import Fault
from rm360_async.extract import extract
from rm360_async.extract_job import ExtractJob
from rm360_async.package import seal

_PROGRESS_EVERY = 0.5  # seconds


def main(arguments: list[str]) -> int:
    """Run the job in `arguments` (memory limit in bytes, job as JSON); return the exit code."""
    memory, job = int(arguments[0]), ExtractJob.from_json(arguments[1])
    _limit_ourselves(memory)
    say = _Speaker()
    try:
        record = extract(job, on_progress=say.progress)
        seal(Path(job.staging), record)
    except Fault as fault:
        say.line({"fault": [fault.cause.word, fault.message, fault.hint]})
        return 0
    say.line({"record": asdict(record)})
    return 0


def _limit_ourselves(memory: int) -> None:
    """Bound memory, dump no core, be the first to go when memory is short, and be nice to the downloads."""
    faulthandler.enable()
    try:
        import resource
    except ImportError:  # not on this system: the deadline is the only bound
        return
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(5)
    score = Path("/proc/self/oom_score_adj")
    if score.exists():
        score.write_text("500")


class _Speaker:
    """Write JSON lines to the real standard output, progress at a bounded rate.

    Libraries that print must not get between the lines, so descriptor 1 becomes standard error.
    """

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._next = 0.0

    def line(self, message: dict[str, Any]) -> None:
        self._out.write(json.dumps(message) + "\n")
        self._out.flush()

    def progress(self, files: int, size: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _PROGRESS_EVERY
            self.line({"progress": [files, size]})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
