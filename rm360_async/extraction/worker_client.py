"""Run the extraction of one performance in a child process.

Theory of operation. A worker that HDF5 crashes, that hangs or that takes too much memory costs the attempt of its own
performance and nothing else, so every performance gets a process of its own, forked from one that has done the imports
(see `system.worker_template`). The worker writes JSON lines to its standard output: `progress`, then one `record` or
`fault`. It dies with the service (see `processes`), is ended at its deadline, and the kernel bounds its memory. An exit
without a last line is a death, and the message says of what.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Protocol

import anyio

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.record import EarlierRecord, Record
from rm360_async.extraction.job import ExtractJob
from rm360_async.store.marker import parse_marker
from rm360_async.system.exception_groups import unwraps_faults
from rm360_async.system.workers import NOT_STARTED_HINT, WorkerEnd, WorkerTemplate, run_worker

OnProgress = Callable[[int, int], None]
_WORKER = "rm360_async.extraction.worker"
_PRELOADED = "rm360_async.extraction.modalities.mp3"
_PROBE = "rm360_async.extraction.probe"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProbeResult:
    """What a probe found out: the ffmpeg that works, and why the others and some libraries do not."""

    ffmpeg: str | None
    ffmpeg_problems: dict[str, str]
    library_problems: dict[str, str]


@dataclass(frozen=True)
class WorkerLimits:
    """Limits of one worker: address space in bytes, wall-clock seconds."""

    memory_bytes: int
    deadline_seconds: float


RunExtraction = Callable[[ExtractJob, WorkerLimits, OnProgress], Awaitable[Record]]
"""The type of `Workers.extract`."""


class Workers(Protocol):
    """What runs extractions: `ExtractionWorkers`, for which a simulation has another."""

    async def probe(self, limits: WorkerLimits) -> None:
        """Start a worker that does nothing. Raises Fault(NOT_STARTED)."""

    async def extract(self, job: ExtractJob, limits: WorkerLimits, on_progress: OnProgress) -> Record:
        """Extract and seal one performance in a worker; return its record."""


class ExtractionWorkers:
    """A context manager that runs extractions, each in a process of its own."""

    def __init__(self) -> None:
        self._template = WorkerTemplate(_WORKER, _PRELOADED)
        self._ffmpeg: str | None = None

    async def __aenter__(self) -> ExtractionWorkers:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._template.__aexit__(kind, error, trace)

    async def probe(self, limits: WorkerLimits) -> None:
        """Start a worker that tries what extractions need (see `probe`); its imports are done from then on.

        Raises Fault(NOT_STARTED). Without a working ffmpeg it only logs that there will be no MP3.
        """
        self._ffmpeg = (await self.run_probe(limits)).ffmpeg
        if self._ffmpeg is None:
            _log.warning("no working ffmpeg was found, so no audio.mp3 is made; see: rm360 doctor CONFIG")

    async def run_probe(self, limits: WorkerLimits, libraries: Sequence[str] = ()) -> ProbeResult:
        """Return what a worker with these limits found out; `libraries` are imported too. Raises Fault(NOT_STARTED)."""
        results: list[dict[str, Any]] = []
        worker = self._template.worker(_PROBE, limits.memory_bytes, "probe")
        end = await run_worker(worker, json.dumps(list(libraries)), results.append)
        if not results:
            message = f"a worker process {end.reason()} when it was tried"
            raise Fault(Cause.NOT_STARTED, message, NOT_STARTED_HINT)
        return ProbeResult(**results[-1])

    async def extract(self, job: ExtractJob, limits: WorkerLimits, on_progress: OnProgress) -> Record:
        """Extract and seal one performance in a worker; return its record.

        `on_progress` gets the files and bytes written so far. Raises the Fault that the worker reported, WORKER_DIED
        for its death, DEADLINE, or NOT_STARTED, which is not the performance's fault.
        """
        worker = self._template.worker(_WORKER, limits.memory_bytes, str(job.performance))
        output = _WorkerOutput(on_progress)
        with anyio.move_on_after(limits.deadline_seconds) as deadline, unwraps_faults():
            end = await run_worker(worker, replace(job, ffmpeg=self._ffmpeg).to_json(), output.receive)
        if deadline.cancelled_caught:
            raise Fault(
                Cause.DEADLINE,
                f"the extraction of {job.performance} did not end within {limits.deadline_seconds / 60:.3g} minutes",
                "raise processing.extraction_minutes if the disk is that slow",
            )
        return _record(job, limits, output.last_message, end)


def _record(job: ExtractJob, limits: WorkerLimits, last_message: dict[str, Any], end: WorkerEnd) -> Record:
    """Return the record that a worker reported; raise the Fault that it reported, or WORKER_DIED."""
    if "fault" in last_message:
        code, message, hint = last_message["fault"]
        raise Fault(Cause.from_code(code), message, hint)
    if "record" in last_message and end.exit_code == 0:
        record = parse_marker(json.dumps(last_message["record"]))
        if not isinstance(record, EarlierRecord):
            return record
    raise Fault(Cause.WORKER_DIED, f"the extraction process of {job.performance} {_death_reason(end, limits)}")


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


def _death_reason(end: WorkerEnd, limits: WorkerLimits) -> str:
    if "MemoryError" in end.stderr or "Unable to allocate" in end.stderr:
        return f"needed more than {limits.memory_bytes / 2**30:.3g} GB of memory (processing.worker_memory_gb)"
    return end.reason()
