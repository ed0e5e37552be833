"""Line protocol between the service and its worker processes: JSON lines on the worker's standard output.

The parent's side is `run_worker`; the worker calls `limit_process` and then writes with `MessageWriter`. A worker that
dies writes no last message; what it left on standard error tells why.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import ByteReceiveStream

from rm360_async.system.processes import PIPE, Tail, child_process

OnMessage = Callable[[dict[str, Any]], None]
_MAX_STDERR_BYTES = 8192
_MAX_LINE_BYTES = 2**26
"""The record of a file with many left-out frames is long; the garbage of a broken worker is longer."""
_PROGRESS_SECONDS = 0.5
_PROJECT = str(Path(__file__).resolve().parents[2])
"""The folder that contains the package."""


async def run_worker(command: Sequence[str], env: Mapping[str, str], on_message: OnMessage) -> tuple[int | None, str]:
    """Run a worker process to its end, passing on each message; return its exit code and the end of its errors.

    Lines that are not messages, such as those that a library prints, are ignored.
    """
    errors = Tail(_MAX_STDERR_BYTES)
    async with child_process(command, env=env, stdout=PIPE, stderr=PIPE) as process:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(errors.drain, process.stderr)
            if process.stdout is not None:
                await _read_lines(process.stdout, on_message)
        await process.wait()
    return process.returncode, errors.text


async def _read_lines(stream: ByteReceiveStream, on_message: OnMessage) -> None:
    line = bytearray()
    async for chunk in stream:
        line_end, *line_starts = chunk.split(b"\n")
        line += line_end
        for line_start in line_starts:
            _parse_line(bytes(line), on_message)
            line = bytearray(line_start)
        del line[_MAX_LINE_BYTES:]


def _parse_line(line: bytes, on_message: OnMessage) -> None:
    try:
        message = json.loads(line)
    except ValueError:
        return
    if isinstance(message, dict):
        on_message(message)


def worker_environment() -> Mapping[str, str]:
    """Return the environment of a worker: this process's, with the package on PYTHONPATH and no thread pools."""
    paths = [_PROJECT, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    single = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "HDF5_USE_FILE_LOCKING": "FALSE"}
    return {**os.environ, **single, "PYTHONPATH": os.pathsep.join(paths)}


def limit_process(memory_bytes: int) -> None:
    """Limit this process's memory, let it dump no core, and give way to the downloads.

    It has a lower priority than the service, and is the first to be killed if the machine runs out of memory.
    """
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(5)
    score = Path("/proc/self/oom_score_adj")
    if score.exists():
        score.write_text("500")


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
