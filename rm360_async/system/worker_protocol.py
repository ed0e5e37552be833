"""How a child of ours talks to us: JSON lines on its standard output, and nothing else.

The parent's side is `run_worker`; the child's is `MessageWriter`, and `limit_ourselves` comes before it. A child that
dies says no last line; what it then left on standard error tells of what.
"""

from __future__ import annotations

import faulthandler
import json
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import ByteReceiveStream

from rm360_async.system.processes import PIPE, Tail, child

OnLine = Callable[[dict[str, Any]], None]
_STDERR_KEPT = 8192
_LONGEST_LINE = 2**26  # the record of a file with many left-out frames is long; a broken child's garbage is longer
_PROGRESS_EVERY = 0.5  # seconds


async def run_worker(command: Sequence[str], env: Mapping[str, str], on_line: OnLine) -> tuple[int | None, bytes]:
    """Run a child of ours to its end, passing on each message; return its exit code and the end of its errors.

    Text that a library prints is no message, and is passed over.
    """
    errors = Tail(_STDERR_KEPT)
    async with child(command, env=env, stdout=PIPE, stderr=PIPE) as process:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(errors.drain, process.stderr)
            if process.stdout is not None:
                await _read_lines(process.stdout, on_line)
        await process.wait()
    return process.returncode, errors.text.encode()


async def _read_lines(stream: ByteReceiveStream, on_line: OnLine) -> None:
    line = bytearray()
    async for chunk in stream:
        first, *more = chunk.split(b"\n")
        line += first
        for text in more:
            _pass_on(bytes(line), on_line)
            line = bytearray(text)
        del line[_LONGEST_LINE:]


def _pass_on(text: bytes, on_line: OnLine) -> None:
    try:
        said = json.loads(text)
    except ValueError:
        return
    if isinstance(said, dict):
        on_line(said)


def environment_of_child() -> Mapping[str, str]:
    """Return the child's environment: ours, the package found, and no thread pools that it does not need."""
    package = str(Path(__file__).resolve().parents[2])
    paths = [package, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    single = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "HDF5_USE_FILE_LOCKING": "FALSE"}
    return {**os.environ, **single, "PYTHONPATH": os.pathsep.join(paths)}


def limit_ourselves(memory: int) -> None:
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


class MessageWriter:
    """Write JSON lines to the real standard output, progress at a bounded rate.

    Libraries that print must not get between the lines, so descriptor 1 becomes standard error.
    """

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._next = 0.0
        self._lock = threading.Lock()

    def line(self, message: Mapping[str, Any]) -> None:
        """Say one message."""
        with self._lock:
            self._out.write(json.dumps(message) + "\n")
            self._out.flush()

    def progress(self, *counts: int) -> None:
        """Say how far it is, unless that was said just now; from one thread at a time or several."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _PROGRESS_EVERY
            self.line({"progress": counts})
