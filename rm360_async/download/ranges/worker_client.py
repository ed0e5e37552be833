"""Run the discovery process (see `ranges.worker`) to its end, and download what it wants."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import anyio
from anyio.abc import TaskGroup

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Kind, Performance
from rm360_async.download.connections import Connections
from rm360_async.download.ranges.job import RangeJob
from rm360_async.download.transfer import FileTransfer
from rm360_async.system.exception_groups import unwraps_faults
from rm360_async.system.workers import run_worker, single_worker

_WORKER = "rm360_async.download.ranges.worker"
_CHECK_SECONDS = 1.0


class RangeWorkerClient:
    """One discovery process, and the transfers of the files that it reads."""

    def __init__(
        self,
        range_job: RangeJob,
        performance: Performance,
        transfers: Mapping[Kind, FileTransfer],
        connections: Connections,
    ) -> None:
        self._range_job, self._performance = range_job, performance
        self._transfers, self._connections = transfers, connections
        self._discovering = False
        self._result: dict[str, Any] = {}
        self._answers, self._answers_out = anyio.create_memory_object_stream[str](math.inf)

    async def run(self, deadline_seconds: float) -> dict[str, Any]:
        """Return the result of the process. Raises Fault for a file that cannot be downloaded, and for its death.

        Reading the index takes minutes where there are a hundred thousand images; a damaged file must not take for
        ever, so that has a deadline.
        """
        worker = single_worker(_WORKER, self._range_job.memory_bytes)
        with unwraps_faults(), self._answers, self._answers_out:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch, deadline_seconds)

                def on_message(message: dict[str, Any]) -> None:
                    self._handle(message, tasks)

                end = await run_worker(worker, self._range_job.to_json(), on_message, self._answers_out)
                tasks.cancel_scope.cancel()
        if not self._result:
            message = f"the process that finds the ranges of {self._performance} {end.reason()}"
            raise Fault(Cause.WORKER_DIED, message)
        return self._result

    def _handle(self, message: dict[str, Any], tasks: TaskGroup) -> None:
        if "want" in message:
            for kind, spans in message["want"].items():
                wanted = [(int(start), int(end)) for start, end in spans]
                self._transfers[Kind(kind)].want(wanted, urgent=message["urgent"])
            self._connections.start_more()
        elif "wait" in message:
            tasks.start_soon(self._answer, message["wait"] == "urgent")
        elif "discovering" in message:
            self._discovering = message["discovering"]
        elif "progress" not in message:
            self._result = message

    async def _answer(self, urgent_only: bool) -> None:
        """Tell the process when what it waits for has arrived."""
        for transfer in self._transfers.values():
            await transfer.wait_until_arrived(urgent_only=urgent_only)
        self._answers.send_nowait("arrived")

    async def _watch(self, deadline_seconds: float) -> None:
        """Raise Fault(DEADLINE) if the process reads for too long without wanting anything."""
        seconds = 0.0
        while True:
            await anyio.sleep(_CHECK_SECONDS)
            seconds += _CHECK_SECONDS if self._discovering else 0.0
            if seconds >= deadline_seconds:
                minutes = f"{deadline_seconds / 60:.3g} minutes"
                message = f"{self._performance}: downloading ranges: reading the index took longer than {minutes}"
                raise Fault(Cause.DEADLINE, message)
