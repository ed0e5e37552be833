"""`rm360 export`: run the workers, several performances side by side."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio

from rm360_async.commands.export.dry_run import print_estimate
from rm360_async.commands.export.job import ExportJob
from rm360_async.commands.export.progress import ExportProgress, export_progress
from rm360_async.commands.export.report import ExportReport
from rm360_async.dataset import PublishedDataset, open_performance
from rm360_async.dataset.collection import name_of
from rm360_async.domain.errors import BadRequest, Cause, Fault
from rm360_async.domain.exit_code import ExitCode
from rm360_async.export.format import Format
from rm360_async.export.formats import format_names, get_format
from rm360_async.export.options import ExportOptions, require_valid
from rm360_async.export.publish import remove_unfinished
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.workers import WorkerTemplate, run_worker

_WORKER = "rm360_async.commands.export.worker"
_WORKER_MEMORY_BYTES = 8 * 2**30
_ALWAYS_USED = {"threads"}


async def export(
    format_name: str,
    performances: PublishedDataset,
    output: Path,
    options: ExportOptions,
    jobs: int | None,
    force: bool,
    dry_run: bool,
) -> int:
    """Export performances and print what was done; return the exit code."""
    fmt = get_format(format_name)
    require_usable(fmt, options)
    require_outside(output, performances)
    workers = jobs or os.cpu_count() or 1
    if dry_run:
        return print_estimate(fmt, performances, output, options, workers)
    started, report = time.monotonic(), ExportReport()
    job = ExportJob(fmt.name, Path(), output, options, force)
    async with export_progress(len(performances)) as progress:
        await _Runner(fmt, workers, report, progress).run(
            _jobs(job, performances.folders, workers, by_moment=fmt.by_moment)
        )
    for line in report.lines(fmt.name, str(output), time.monotonic() - started):
        print(line)
    return ExitCode.SOME_FAILED if report.has_failures else ExitCode.DONE


def require_usable(fmt: Format, options: ExportOptions) -> None:
    """Raise BadRequest if an option has a bad value, or is one that the format does not have."""
    require_valid(options)
    unused = sorted(options.chosen() - fmt.used_options)
    problems = [f"--{option} means nothing to format {fmt.name}" for option in unused]
    if "images" in fmt.used_options and options.images not in fmt.image_modes:
        problems.append(f"--images {options.images}: {fmt.name} can do {', '.join(fmt.image_modes)}")
    if problems:
        raise BadRequest(*problems)


def require_outside(output: Path, performances: PublishedDataset) -> None:
    """Raise BadRequest if exports would be written into published folders, or have their names."""
    target = output.resolve()
    for folder in performances.folders:
        published = folder.resolve()
        if published in (target, *target.parents) or published == target / str(name_of(folder)):
            raise BadRequest(f"--output {output}: exports would be written to the published folder {folder}")


def list_formats() -> str:
    """Return a line or two for each format: what it is, whether pictures are links, what it needs."""
    lines = []
    for name in format_names():
        fmt = get_format(name)
        pictures = "pictures are links" if fmt.links else "pictures are made"
        lines.append(f"{name:16}{fmt.description}")
        lines.append(f"{'':16}{pictures}; needs {', '.join(fmt.needs)}")
    return "\n".join(lines)


def _jobs(job: ExportJob, folders: tuple[Path, ...], workers: int, *, by_moment: bool) -> Iterator[ExportJob]:
    """Yield a job for each performance.

    If there are fewer performances than workers, each becomes several jobs, or one with several threads where it is a
    single unit.
    """
    share = -(-workers // len(folders))
    parts, threads = (share, 1) if by_moment else (1, share)
    for folder in folders:
        each = replace(job, folder=folder, options=replace(job.options, threads=threads))
        yield from each.split(parts)


class _Runner:
    """Gives jobs to workers, and their messages to report and progress."""

    def __init__(self, fmt: Format, workers: int, report: ExportReport, progress: ExportProgress) -> None:
        self.fmt, self.report, self.progress = fmt, report, progress
        self._limiter = anyio.CapacityLimiter(workers)

    async def run(self, jobs: Iterator[ExportJob]) -> None:
        modules = (_WORKER, type(self.fmt).__module__, "plyfile")  # imported once, before workers are forked
        async with WorkerTemplate(*modules) as template, anyio.create_task_group() as tasks:
            for job in jobs:
                await self._limiter.acquire_on_behalf_of(job)
                tasks.start_soon(self._run_one, template, job)

    async def _run_one(self, template: WorkerTemplate, job: ExportJob) -> None:
        task = self.progress.begin(job.name)
        is_done = False

        def on_message(message: dict[str, Any]) -> None:
            if "units" in message:
                self.progress.add_total(task, message["units"])
            elif "unit" in message:
                self.progress.advance(task)
            elif "stop" in message:
                raise Fault(Cause.NOT_WRITABLE, message["stop"])
            self.report.add(job.name, message)

        try:
            worker = template.worker(_WORKER, _WORKER_MEMORY_BYTES, f"export {job.name}")
            end = await run_worker(worker, job.to_json(), on_message)
            is_done = end.exit_code == 0
            if not is_done:
                self.report.add_failure(job.name, f"the process that exported it {end.reason()}")
        finally:
            if not is_done:  # it was ended, perhaps in the middle of a unit
                with anyio.CancelScope(shield=True):
                    await on_disk_thread(_remove_unfinished, job)
            self._limiter.release_on_behalf_of(job)
            self.progress.end(task, 1 / job.parts)


def _remove_unfinished(job: ExportJob) -> None:
    """Remove what a worker that was ended has left of its units."""
    place = job.output / get_format(job.format).place_of(open_performance(job.folder))
    for line in remove_unfinished(place):
        print(line, file=sys.stderr)
