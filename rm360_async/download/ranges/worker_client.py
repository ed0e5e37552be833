"""Run the child process that downloads ranges (see `ranges.worker`) to its end, and watch its progress."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio

from rm360_async.domain.errors import Cause, Fault
from rm360_async.download.ranges.job import PASSWORD_VARIABLE, RangeJob
from rm360_async.download.rclone import StallPolicy, StallWatch
from rm360_async.pipeline.job import Job
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.exception_groups import unwraps_faults
from rm360_async.system.workers import run_worker, single_worker

_WORKER = "rm360_async.download.ranges.worker"


class RangeWorkerWatchdog:
    """Check a range worker tick by tick: without new bytes it has stalled, unless it is discovering.

    Discovery takes minutes for an index of a hundred thousand images, or when the bytes that are here already have
    to be verified; it is limited by the deadline of an extraction.
    """

    def __init__(self, policy: StallPolicy, deadline_seconds: float) -> None:
        self._stall = StallWatch(0, policy)
        self._tick_seconds, self._deadline_seconds = policy.tick_seconds, deadline_seconds
        self._discovery_seconds = 0.0

    def tick(self, fetched: int, discovering: bool) -> Fault | None:
        """Take the bytes so far, and whether the worker is discovering; return why it must be ended, or None."""
        if discovering:
            self._discovery_seconds += self._tick_seconds
            if self._discovery_seconds < self._deadline_seconds:
                return None
            minutes = f"{self._deadline_seconds / 60:.3g} minutes"
            return Fault(Cause.DEADLINE, f"downloading ranges: reading the index took longer than {minutes}")
        stalled = self._stall.tick(fetched)
        return Fault(Cause.STALL, f"downloading ranges: {stalled}") if stalled else None


class RangeWorkerClient:
    """One range worker: its messages, and the bytes that it has downloaded."""

    def __init__(self, range_job: RangeJob, job: Job, on_bytes: Callable[[int], None], bytes_before: int) -> None:
        self._range_job, self._job, self._on_bytes = range_job, job, on_bytes
        self._bytes_before = bytes_before
        self._fetched, self._discovering = 0, False
        self._result: dict[str, Any] = {}

    @classmethod
    async def create(cls, range_job: RangeJob, job: Job, on_bytes: Callable[[int], None]) -> RangeWorkerClient:
        """Return the client of a job; the bytes that lie in its sparse files are counted first."""
        paths = [Path(file.local) for file in range_job.files.values()]
        return cls(range_job, job, on_bytes, await on_disk_thread(_allocated, paths))

    async def run(self, password: str, policy: StallPolicy, deadline_seconds: float) -> dict[str, Any]:
        """Return the worker's result. Raises Fault for a stall, for the deadline and for its death."""
        worker = single_worker(_WORKER, self._range_job.memory_bytes, {PASSWORD_VARIABLE: password})
        with unwraps_faults():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch, RangeWorkerWatchdog(policy, deadline_seconds), policy.tick_seconds)
                end = await run_worker(worker, self._range_job.to_json(), self._on_message)
                tasks.cancel_scope.cancel()
        if not self._result:
            message = f"the process that downloads ranges of {self._job.performance} {end.reason()}"
            raise Fault(Cause.WORKER_DIED, message)
        return self._result

    async def _watch(self, watchdog: RangeWorkerWatchdog, tick_seconds: float) -> None:
        """Raise the Fault for which the worker must be ended, if there is one."""
        while True:
            await anyio.sleep(tick_seconds)
            if fault := watchdog.tick(self._fetched, self._discovering):
                raise Fault(fault.cause, f"{self._job.performance}: {fault.message}")

    def _on_message(self, message: dict[str, Any]) -> None:
        self._discovering = message.get("discovering", self._discovering)
        fetched = message["progress"][0] if "progress" in message else message.get("fetched", self._fetched)
        if fetched > self._fetched:
            self._on_bytes(fetched - self._fetched)
            self._fetched = fetched
        self._job.progress.done_bytes = self._job.spooled_bytes = self._bytes_before + self._fetched
        if "progress" not in message and "discovering" not in message:
            self._result = message


def _allocated(paths: Sequence[Path]) -> int:
    """Return the bytes of disk that files take, 0 for one that does not exist."""
    size = 0
    for path in paths:
        with suppress(OSError):
            size += path.stat().st_blocks * 512
    return size
