"""`rm360 export`: run the workers, several performances side by side."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from rm360_async.commands.export.dry_run import print_estimate
from rm360_async.commands.export.job import ExportJob
from rm360_async.commands.export.pool import run_jobs
from rm360_async.commands.export.progress import export_progress
from rm360_async.commands.export.report import ExportReport
from rm360_async.dataset import PublishedDataset
from rm360_async.dataset.collection import name_of
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.exit_code import ExitCode
from rm360_async.export.format import Format
from rm360_async.export.formats import format_names, get_format
from rm360_async.export.options import ExportOptions, require_valid


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
        each = _jobs(job, performances.folders, workers)
        await run_jobs(each, type(fmt).__module__, workers, report, progress)
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


def _jobs(job: ExportJob, folders: tuple[Path, ...], workers: int) -> Iterator[ExportJob]:
    """Yield a job for each performance, with its share of the processors if there are fewer performances."""
    threads = -(-workers // len(folders))
    for folder in folders:
        yield replace(job, folder=folder, options=replace(job.options, threads=threads))
