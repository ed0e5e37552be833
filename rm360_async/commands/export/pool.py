"""The workers of an export: a performance each, and when none is left to begin, together on what is being done.

How many units a performance has, only a worker finds out. So workers ask for one unit at a time, and one that would be
idle joins the performance that has most units left: one of a thousand moments keeps every processor busy to its end.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Any

import anyio
import anyio.abc
from rich.progress import TaskID

from rm360_async.commands.export.job import ExportJob
from rm360_async.commands.export.progress import ExportProgress
from rm360_async.commands.export.report import ExportReport
from rm360_async.dataset import open_performance
from rm360_async.domain.errors import Cause, Fault
from rm360_async.export.formats import get_format
from rm360_async.export.publish import remove_unfinished
from rm360_async.system.changed import Changed
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.workers import WorkerTemplate, run_worker

_WORKER = "rm360_async.commands.export.worker"
_WORKER_MEMORY_BYTES = 8 * 2**30


async def run_jobs(
    jobs: Iterator[ExportJob], format_module: str, workers: int, report: ExportReport, progress: ExportProgress
) -> None:
    """Give jobs to workers, and their messages to report and progress; raise the Fault that would meet every job."""
    modules = (_WORKER, format_module, "plyfile", "numpy.random")  # imported once, before workers are forked
    async with WorkerTemplate(*modules) as template:
        await _Pool(template, workers, report, progress).run(jobs)


class _Units:
    """The units of one performance that is being exported: how many there are, and how many were given to workers."""

    def __init__(self, job: ExportJob, bar: TaskID) -> None:
        self.job, self.bar = job, bar
        self.workers = 0
        self.starting: set[object] = set()
        """Workers that have not asked for a unit yet."""
        self.has_failed = False
        self._total = self._given = 0

    @property
    def unclaimed(self) -> int:
        """Return how many units are for workers that are not there yet."""
        return 0 if self.has_failed else self._total - self._given - len(self.starting)

    def found(self, total: int) -> None:
        """Set how many there are; a worker that joins finds the same."""
        self._total = total

    def give(self) -> str:
        """Return the number of the next unit, nothing if none is left."""
        if self._given == self._total:
            return ""
        self._given += 1
        return str(self._given - 1)


class _Pool:
    def __init__(self, template: WorkerTemplate, workers: int, report: ExportReport, progress: ExportProgress) -> None:
        self._template, self._report, self._progress = template, report, progress
        self._free = workers
        self._active: list[_Units] = []
        self._changed = Changed()

    async def run(self, jobs: Iterator[ExportJob]) -> None:
        """Do all jobs, `workers` processes at a time."""
        async with anyio.create_task_group() as tasks:
            for job in jobs:
                await self._until_free()
                self._start(tasks, self._begin(job))
            while self._active:
                units = max(self._active, key=lambda each: each.unclaimed)
                if self._free and units.unclaimed > 0:
                    self._start(tasks, units)
                else:
                    await self._changed.wait()

    def _begin(self, job: ExportJob) -> _Units:
        units = _Units(job, self._progress.begin(job.name))
        self._active.append(units)
        return units

    def _start(self, tasks: anyio.abc.TaskGroup, units: _Units) -> None:
        self._free -= 1
        units.workers += 1
        worker = object()
        units.starting.add(worker)
        tasks.start_soon(self._work, units, worker)

    async def _until_free(self) -> None:
        while not self._free:
            await self._changed.wait()

    async def _work(self, units: _Units, worker: object) -> None:
        """Have one more worker do units of a performance until none is left."""
        is_done = False
        try:
            is_done = await self._run_worker(units, worker)
        finally:
            if not is_done:  # it was ended, perhaps in the middle of a unit
                units.has_failed = True
                with anyio.CancelScope(shield=True):
                    await on_disk_thread(_remove_unfinished, units.job)
            units.starting.discard(worker)
            self._end(units)

    def _end(self, units: _Units) -> None:
        self._free += 1
        units.workers -= 1
        if not units.workers:
            self._active.remove(units)
            self._progress.end(units.bar)
        self._changed.notify()

    async def _run_worker(self, units: _Units, worker: object) -> bool:
        """Return True if the worker ended by itself, and not in the middle of a unit."""
        job = units.job
        send, answers = anyio.create_memory_object_stream[str](math.inf)
        process = self._template.worker(_WORKER, _WORKER_MEMORY_BYTES, f"export {job.name}")

        def on_message(message: dict[str, Any]) -> None:
            if "next" in message:
                units.starting.discard(worker)
                send.send_nowait(units.give())
            else:
                self._take(message, units)

        with send, answers:
            end = await run_worker(process, job.to_json(), on_message, answers)
        if end.exit_code != 0:
            self._report.add_failure(job.name, f"the process that exported it {end.reason()}")
        return end.exit_code == 0

    def _take(self, message: dict[str, Any], units: _Units) -> None:
        if "stop" in message:
            raise Fault(Cause.NOT_WRITABLE, message["stop"])
        if "units" in message:
            units.found(message["units"])
            self._progress.set_total(units.bar, message["units"])
            self._changed.notify()
        elif "unit" in message:
            self._progress.advance(units.bar)
        self._report.add(units.job.name, message)


def _remove_unfinished(job: ExportJob) -> None:
    """Remove what a worker that was ended has left of its units."""
    place = job.output / get_format(job.format).place_of(open_performance(job.folder))
    for line in remove_unfinished(place):
        print(line, file=sys.stderr)
