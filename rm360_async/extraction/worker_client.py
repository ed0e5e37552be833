"""Run the extraction of one performance in a child process.

Theory of operation. A worker that HDF5 crashes, that hangs or that takes too much memory costs the attempt of its own
performance and nothing else, so every performance gets a process of its own (start-up is a fraction of a second, an
extraction takes minutes). The worker writes JSON lines to its standard output: `progress`, then one `record` or
`fault`. It dies with the service (see `processes`), is ended at its deadline, and the kernel bounds its memory. An exit
without a last line is a death, and the message says of what.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import anyio

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.record import EarlierRecord, Record
from rm360_async.extraction.job import ExtractJob
from rm360_async.store.marker import parse_marker
from rm360_async.system.worker_protocol import run_worker, worker_environment

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class WorkerLimits:
    """Limits of one worker: address space in bytes, wall-clock seconds."""

    memory_bytes: int
    deadline_seconds: float


RunExtraction = Callable[[ExtractJob, WorkerLimits, OnProgress], Awaitable[Record]]
"""The type of `run_extraction`, for which a simulation has another."""


async def run_extraction(job: ExtractJob, limits: WorkerLimits, on_progress: OnProgress) -> Record:
    """Extract and seal one performance in a worker; return its record.

    `on_progress` gets the files and bytes written so far. Raises the Fault that the worker reported, WORKER_DIED
    for its death, or DEADLINE.
    """
    command = [
        sys.executable,
        "-X",
        "utf8",
        "-m",
        "rm360_async.extraction.worker",
        str(limits.memory_bytes),
        job.to_json(),
    ]
    output = _WorkerOutput(on_progress)
    with anyio.move_on_after(limits.deadline_seconds) as deadline:
        exit_code, stderr = await run_worker(command, worker_environment(), output.receive)
    if deadline.cancelled_caught:
        raise Fault(
            Cause.DEADLINE,
            f"the extraction of {job.performance} did not end within {limits.deadline_seconds / 60:.3g} minutes",
            "raise processing.extraction_minutes if the disk is that slow",
        )
    if "fault" in output.last_message:
        code, message, hint = output.last_message["fault"]
        raise Fault(Cause.from_code(code), message, hint)
    if "record" in output.last_message and exit_code == 0:
        record = parse_marker(json.dumps(output.last_message["record"]))
        if not isinstance(record, EarlierRecord):
            return record
    death = _death_reason(exit_code, stderr, limits)
    raise Fault(Cause.WORKER_DIED, f"the extraction process of {job.performance} {death}")


class _WorkerOutput:
    """The messages of a worker: passes on its progress, and keeps the last other message."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self.last_message: dict[str, Any] = {}

    def receive(self, message: dict[str, Any]) -> None:
        """Take one message."""
        if "progress" in message:
            self._on_progress(*message["progress"])
        else:
            self.last_message = message


def _death_reason(exit_code: int | None, stderr: str, limits: WorkerLimits) -> str:
    lines = stderr.strip().splitlines()
    if "MemoryError" in stderr or "Unable to allocate" in stderr:
        return f"needed more than {limits.memory_bytes / 2**30:.3g} GB of memory (processing.worker_memory_gb)"
    if exit_code == -signal.SIGKILL:
        return "was killed by SIGKILL (by hand, or by the system because memory was short)"
    if exit_code is not None and exit_code < 0:
        return f"was killed by {signal.Signals(-exit_code).name}"
    return f"ended with exit code {exit_code}" + (f": {lines[-1]}" if lines else "")
