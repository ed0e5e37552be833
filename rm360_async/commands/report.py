"""`rm360 report`: the pages of published folders that changed, and the run's page from the ledger."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from anyio.to_process import run_sync as in_a_process
from anyio.to_thread import run_sync as in_a_thread
from rich.console import Console
from rich.progress import Progress, TaskID

from rm360_async.budget import SystemDisk
from rm360_async.config import Settings
from rm360_async.domain.errors import BadRequest, Fault
from rm360_async.domain.names import Performance, matches_any, output_folder
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import PerformanceRow
from rm360_async.ledger import opened
from rm360_async.ledger.manifest_csv import error_text
from rm360_async.service.snapshot import Snapshot
from rm360_async.visualization.report import (
    DiskUsage,
    PerformanceEntry,
    RunData,
    is_page_current,
    read_page_states,
    remove_orphan_pages,
    write_page,
    write_run_page,
)

_BACK = "../../index.html"


@dataclass(frozen=True)
class ReportOptions:
    """What is wanted: pages with faces or silhouettes, all anew or only what changed, and of which performances."""

    faces: bool = True
    force: bool = False
    subjects: tuple[str, ...] = ()
    performances: tuple[str, ...] = ()

    def wants(self, performance: Performance) -> bool:
        """Tell whether a performance's page is to be made."""
        return (not self.subjects or performance.subject in self.subjects) and (
            not self.performances or matches_any(performance.name, self.performances)
        )


@dataclass
class _Pages:
    """What became of the pages: made, left as they are, and why others could not be made."""

    made: int = 0
    current: int = 0
    troubles: dict[Performance, str] = field(default_factory=dict)


def report_folder(folder: Path, output: Path, *, faces: bool) -> int:
    """Make the page of one published folder; return the exit code."""
    _keep_out(output, folder, "the published folder")
    numbers = write_page(folder, output, faces=faces)
    print(f"{output / 'index.html'}: {numbers['name']}: {numbers['state']}")
    return 0


async def report_run(settings: Settings, output: Path, options: ReportOptions) -> int:
    """Make the pages of a run that changed, and its index; return 1 when a page could not be made."""
    _keep_out(output, settings.storage.output_dir, "output_dir")
    run = await _look(settings)
    published = [row for row in run.rows if row.stage is Stage.COMPLETED]
    pages = _Pages()
    wanted = [row.performance for row in published if options.wants(row.performance)]
    await _make(settings, output, options, wanted, pages)
    kept = {str(row.performance) for row in published}
    swept = await in_a_thread(lambda: remove_orphan_pages(output, kept, faces=options.faces))
    index = await in_a_thread(lambda: write_run_page(_numbers(settings, output, run, pages.troubles), output))
    for performance, trouble in pages.troubles.items():
        print(f"no page of {performance}: {trouble}", file=sys.stderr)
    _tell(output, index, pages, swept)
    return 1 if pages.troubles else 0


def _keep_out(output: Path, folder: Path, what: str) -> None:
    """Refuse to write pages among what is published: each would be an extra file there."""
    if folder.resolve() in (output.resolve(), *output.resolve().parents):
        raise BadRequest(f"--output {output} is in {what} {folder}; put the pages beside it")


@dataclass(frozen=True)
class _Run:
    rows: Sequence[PerformanceRow]
    fetched: tuple[tuple[float, int, float], ...]
    running: tuple[str, ...]


async def _look(settings: Settings) -> _Run:
    async with opened(settings.storage.manifest_path) as (ledger, claims):
        rows = await ledger.rows(claims=claims)
        attempts = await ledger.attempts.all()
        running = await ledger.runs.running(claims)
    fetched = tuple(
        (each.ended, each.fetched_bytes, each.seconds.get("download", 0.0))
        for each in attempts
        if each.ended is not None and each.fetched_bytes
    )
    lines = [
        f"running: pid {each.pid} on {each.host}"
        + (f": {Snapshot.from_dict(each.progress).line()}" if each.progress else "")
        for each in running
    ]
    return _Run(rows, fetched, tuple(lines))


async def _make(
    settings: Settings, output: Path, options: ReportOptions, wanted: Collection[Performance], pages: _Pages
) -> None:
    """Make pages in processes of their own: a picture that brings one down costs one page."""
    limiter = anyio.CapacityLimiter(settings.processing.worker_count)
    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("pages", total=len(wanted))
        async with anyio.create_task_group() as group:
            for performance in wanted:
                await limiter.acquire_on_behalf_of(performance)
                folder = output_folder(settings.storage.output_dir, performance)
                place = output / performance.subject / performance.name
                group.start_soon(_page, _Job(performance, folder, place, options), pages, limiter, (bars, task))


@dataclass(frozen=True)
class _Job:
    performance: Performance
    folder: Path
    place: Path
    options: ReportOptions


async def _page(job: _Job, pages: _Pages, limiter: anyio.CapacityLimiter, bar: tuple[Progress, TaskID]) -> None:
    try:
        faces = job.options.faces
        if not job.options.force and is_page_current(job.folder, job.place, faces=faces):
            pages.current += 1
            return
        trouble = await in_a_process(page_trouble, job.folder, job.place, faces, cancellable=True)
        if trouble:
            pages.troubles[job.performance] = trouble
        else:
            pages.made += 1
    except BadRequest as error:
        pages.troubles[job.performance] = str(error)
    except anyio.BrokenWorkerProcess as error:
        pages.troubles[job.performance] = f"the process that drew it died ({error})"
    finally:
        limiter.release_on_behalf_of(job.performance)
        bar[0].advance(bar[1])


def page_trouble(folder: Path, place: Path, faces: bool) -> str:
    """Make one page; return why it could not be made, "" when it was. Runs in a process of its own."""
    try:
        write_page(folder, place, faces=faces, back=_BACK)
    except (BadRequest, Fault) as error:
        return str(error)
    return ""


def _numbers(settings: Settings, output: Path, run: _Run, troubles: dict[Performance, str]) -> RunData:
    return RunData(
        settings.storage.output_dir.parent.name,
        tuple(_board_row(row, output, troubles.get(row.performance, "")) for row in run.rows),
        run.fetched,
        tuple(_disks(settings)),
        run.running,
    )


def _board_row(row: PerformanceRow, output: Path, trouble: str) -> PerformanceEntry:
    performance = row.performance
    published = row.stage is Stage.COMPLETED and not trouble
    page = read_page_states(output / performance.subject / performance.name) if published else None
    return PerformanceEntry(
        performance.subject,
        performance.name,
        row.stage.value,
        row.cameras_extracted,
        row.frames,
        row.bytes,
        row.updated,
        error_text(row),
        row.verdict,
        page,
        trouble,
    )


def _disks(settings: Settings) -> list[DiskUsage]:
    places = {"output_dir": settings.storage.output_dir, "temp_dir": settings.storage.temp_dir}
    found: dict[int, DiskUsage] = {}
    for name, path in places.items():
        space = SystemDisk().space(path)
        known = found.get(space.device)
        found[space.device] = DiskUsage(
            f"{known.name} and {name}" if known else name, space.free_bytes, space.total_bytes
        )
    return list(found.values())


def _tell(output: Path, index: dict[str, Any], pages: _Pages, swept: Collection[str]) -> None:
    squares = ", ".join(f"{count} {square}" for square, count in index["totals"]["squares"].items() if count)
    told = f"{pages.made} pages made, {pages.current} as they were" + (f", {len(swept)} removed" if swept else "")
    print(f"{output / 'index.html'}: {index['totals']['performances']} performances: {squares or 'none'}; {told}")
