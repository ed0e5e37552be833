"""A bounded pool of processes: one fresh child per performance.

Theory of operation. A child that HDF5 crashes, that hangs, or that swells costs the attempt of its own
performance and nothing else, so every performance gets a process of its own (start-up is a fraction of a
second, an extraction minutes). The child speaks JSON lines on its standard output: `progress`, then one
`record` or `fault`. It dies with us (see `children`), is ended at its deadline, and its memory is bounded
by the kernel. An exit without a last line is a death, and the message says of what.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anyio

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.record import EarlierRecord, Record
from rm360_async.extraction.job import ExtractJob
from rm360_async.store.marker import parse_marker
from rm360_async.system.worker_protocol import environment_of_child, run_worker

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class WorkerLimits:
    """What one child may use: address space in bytes, wall seconds."""

    memory_bytes: int
    deadline_seconds: float


class Workers:
    """Run extractions in children, at most `count` at once."""

    def __init__(self, count: int, limits: WorkerLimits) -> None:
        self.count = count
        self.limits = limits
        self._slots = anyio.CapacityLimiter(count)

    async def extract(self, job: ExtractJob, on_progress: OnProgress) -> Record:
        """Extract and seal one performance in a child; raises the Fault that the child met or died of."""
        async with self._slots:
            talk = _Talk(str(job.performance), on_progress)
            with anyio.move_on_after(self.limits.deadline_seconds) as deadline:
                talk.returncode, talk.stderr = await run_worker(self._command(job), environment_of_child(), talk.line)
            if deadline.cancelled_caught:
                minutes = f"{self.limits.deadline_seconds / 60:.3g} minutes"
                raise Fault(
                    Cause.DEADLINE,
                    f"the extraction of {job.performance} did not end within {minutes}",
                    "raise processing.extraction_minutes if the disk is that slow",
                )
            return talk.outcome(self.limits)

    def _command(self, job: ExtractJob) -> list[str]:
        return [sys.executable, "-m", "rm360_async.extraction.worker", str(self.limits.memory_bytes), job.to_json()]


class _Talk:
    """What one child has said so far."""

    def __init__(self, name: str, on_progress: OnProgress) -> None:
        self.name, self.on_progress = name, on_progress
        self.last: dict[str, Any] = {}
        self.returncode: int | None = None
        self.stderr = b""

    def line(self, said: dict[str, Any]) -> None:
        """Take one message."""
        if "progress" in said:
            self.on_progress(*said["progress"])
        else:
            self.last = said

    def outcome(self, limits: WorkerLimits) -> Record:
        """Return the record, or raise the fault that the child reported or died of."""
        if "fault" in self.last:
            word, message, hint = self.last["fault"]
            raise Fault(Cause.from_code(word), message, hint)
        if "record" in self.last and self.returncode == 0:
            record = parse_marker(json.dumps(self.last["record"]))
            if not isinstance(record, EarlierRecord):
                return record
        raise Fault(Cause.WORKER_DIED, f"the extraction process of {self.name} {self._death(self.returncode, limits)}")

    def _death(self, returncode: int | None, limits: WorkerLimits) -> str:
        tail = self.stderr.decode(errors="replace").strip().splitlines()
        if b"MemoryError" in self.stderr or b"Unable to allocate" in self.stderr:
            return f"needed more than {limits.memory_bytes / 2**30:.3g} GB of memory (processing.worker_memory_gb)"
        if returncode == -signal.SIGKILL:
            return "was killed by SIGKILL (by hand, or by the system because memory was short)"
        if returncode is not None and returncode < 0:
            return f"was killed by {signal.Signals(-returncode).name}"
        return f"ended with exit code {returncode}" + (f": {tail[-1]}" if tail else "")
