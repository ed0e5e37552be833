"""`rm360 report`: write the pages of published folders that have changed, and the run's page."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from rich.console import Console
from rich.progress import Progress

from rm360_async.commands.report_data import LedgerData, read_ledger, run_data
from rm360_async.config import Settings
from rm360_async.domain.errors import BadRequest, Fault
from rm360_async.domain.exit_code import ExitCode
from rm360_async.domain.names import Performance, output_folder
from rm360_async.domain.terms import PerformanceFilter
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.workers import WorkerTemplate, run_worker
from rm360_async.visualization.report import is_page_current, remove_orphan_pages, write_page, write_run_page

WATCH_SECONDS = 60
_WORKER = "rm360_async.commands.report_page"


@dataclass(frozen=True)
class ReportOptions:
    """Options of `rm360 report`: faces or silhouettes, all pages or changed ones, and of which performances."""

    faces: bool = True
    force: bool = False
    wanted: PerformanceFilter = field(default_factory=PerformanceFilter)
    watch: bool = False
    """Keep the pages current while a run is active."""


def report_folder(folder: Path, output: Path, *, faces: bool) -> int:
    """Write the page of one published folder; return the exit code."""
    _require_outside(output, folder, "the published folder")
    page = write_page(folder, output, faces=faces)
    print(f"{output / 'index.html'}: {page['name']}: {page['state']}")
    return ExitCode.DONE


async def report_run(settings: Settings, output: Path, options: ReportOptions) -> int:
    """Write the changed pages of a run, and the run's page; SOME_FAILED if a page could not be written.

    With `watch` again every minute, until no run is active.
    """
    _require_outside(output, settings.storage.output_dir, "output_dir")
    while True:
        ledger = await read_ledger(settings)
        goes_on = options.watch and bool(ledger.running)
        code = await _write_report(settings, output, options, ledger, WATCH_SECONDS if goes_on else 0)
        if not goes_on:
            return code
        await anyio.sleep(WATCH_SECONDS)


async def _write_report(
    settings: Settings, output: Path, options: ReportOptions, ledger: LedgerData, refresh_seconds: int
) -> int:
    writer = _PageWriter(settings, output, options)
    for remark in options.wanted.unmatched(ledger.published):
        print(f"note: {remark}", file=sys.stderr)
    await writer.write_all(list(filter(options.wanted.selects, ledger.published)))
    names = {str(each) for each in ledger.published}
    removed = await on_disk_thread(lambda: remove_orphan_pages(output, names, faces=options.faces))
    run_page = await on_disk_thread(
        lambda: write_run_page(run_data(settings, output, ledger, writer.problems, refresh_seconds), output)
    )
    for performance, problem in writer.problems.items():
        print(f"cannot write the page of {performance}: {problem}", file=sys.stderr)
    _print_totals(output, run_page, writer, removed)
    return ExitCode.SOME_FAILED if writer.problems else ExitCode.DONE


def _require_outside(output: Path, folder: Path, what: str) -> None:
    """Raise BadRequest if pages would be written into published folders, where they would be extra files."""
    if folder.resolve() in (output.resolve(), *output.resolve().parents):
        raise BadRequest(f"--output {output} is in {what} {folder}; choose a folder outside it")


@dataclass
class _PageWriter:
    """Writes pages, each in a process of its own, so that an image that crashes it costs one page."""

    settings: Settings
    output: Path
    options: ReportOptions
    written: int = 0
    unchanged: int = 0
    problems: dict[Performance, str] = field(default_factory=dict)

    async def write_all(self, performances: Collection[Performance]) -> None:
        limiter = anyio.CapacityLimiter(self.settings.processing.worker_count)
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("pages", total=len(performances))
            async with WorkerTemplate(_WORKER) as template, anyio.create_task_group() as tasks:
                for performance in performances:
                    await limiter.acquire_on_behalf_of(performance)
                    tasks.start_soon(self._write_one, template, performance, limiter, lambda: bar.advance(task))

    async def _write_in_worker(self, template: WorkerTemplate, performance: Performance, job: str) -> str:
        """Write a page in a process of its own; return why that failed, or ""."""
        messages: list[dict[str, Any]] = []
        memory_bytes = self.settings.processing.worker_memory_bytes
        end = await run_worker(template.worker(_WORKER, memory_bytes, str(performance)), job, messages.append)
        if not messages:
            return f"the process that drew it died: it {end.reason()}"
        return str(messages[-1]["problem"])

    async def _write_one(
        self,
        template: WorkerTemplate,
        performance: Performance,
        limiter: anyio.CapacityLimiter,
        on_done: Callable[[], None],
    ) -> None:
        folder = output_folder(self.settings.storage.output_dir, performance)
        page_dir = self.output / performance.subject / performance.name
        try:
            faces = self.options.faces
            if not self.options.force and is_page_current(folder, page_dir, faces=faces):
                self.unchanged += 1
                return
            problem = await self._write_in_worker(template, performance, _job(folder, page_dir, faces))
            if problem:
                self.problems[performance] = problem
            else:
                self.written += 1
        except (BadRequest, Fault) as error:
            self.problems[performance] = str(error)
        finally:
            limiter.release_on_behalf_of(performance)
            on_done()


def _job(folder: Path, page_dir: Path, faces: bool) -> str:
    """Return the job of the worker, with absolute paths."""
    return json.dumps([str(folder.absolute()), str(page_dir.absolute()), faces])


def _print_totals(output: Path, run_page: dict[str, Any], writer: _PageWriter, removed: Collection[str]) -> None:
    pages = f"{writer.written} pages written, {writer.unchanged} unchanged"
    pages += f", {len(removed)} removed" if removed else ""
    totals = run_page["totals"]
    print(f"{output / 'index.html'}: {totals['performances']} performances: {totals['counts'] or 'none'}; {pages}")
