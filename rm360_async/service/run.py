"""`rm360 run`, from its start to its exit code: opens the parts, plans, runs the pipeline, sums up."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from rm360_async.cluster.requirements import INSTALL, has_dask, require_local_ledger
from rm360_async.config import Settings
from rm360_async.domain.errors import BadRequest, Cause, Fault
from rm360_async.domain.notification import event_at_end
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import PlannedState
from rm360_async.download.rclone import Remote, RemoteListing
from rm360_async.extraction.worker_client import ExtractionWorkers
from rm360_async.ledger import Claims, Ledger, ManifestWriter, opened
from rm360_async.pipeline.machine_pause import try_worker
from rm360_async.pipeline.pipeline import run as run_pipeline
from rm360_async.pipeline.scheduler import Scheduler
from rm360_async.service.console import live_display, record_snapshot, report_progress
from rm360_async.service.dry_run import dry_run
from rm360_async.service.end_summary import RunSummary, exit_code, summary_lines
from rm360_async.service.log_header import header_lines
from rm360_async.service.notify import EventWatch, Notifications, watch_events
from rm360_async.service.progress import Progress
from rm360_async.service.reconciler import Reconciler
from rm360_async.service.requests import follow_requests
from rm360_async.service.run_plan import RunPlan
from rm360_async.service.signals import Stop
from rm360_async.service.snapshot import Snapshot
from rm360_async.service.startup import (
    RunOptions,
    attendance_of,
    list_patiently,
    service_heartbeat,
)
from rm360_async.stages.job_log import JobLog
from rm360_async.stages.remotes import build_accounts, connect, retry_policy_of
from rm360_async.stages.retention import limit_quarantine, remove_old_logs
from rm360_async.stages.stages import Stages
from rm360_async.stages.wiring import build_stages
from rm360_async.system import log as logs
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.exception_groups import unwraps_faults
from rm360_async.system.fault_points import reach
from rm360_async.system.os_errors import fault_in, os_errors
from rm360_async.system.systemd import Notifier

if TYPE_CHECKING:
    from rm360_async.service.metrics import Metrics

log = logs.logger(__name__)


async def run(settings: Settings, options: RunOptions) -> int:
    """Download, extract and publish until nothing is left to do; return the exit code."""
    if options.dry_run:
        return await dry_run(settings, options, connect(settings))
    if settings.cluster.is_used and not has_dask():
        raise BadRequest(f"cluster: needs Dask.distributed on this machine: {INSTALL}")
    options = replace(options, attendance=attendance_of(os.environ))  # before the notifier takes its variables away
    async with service_heartbeat() as notifier:
        remotes = await on_disk_thread(connect, settings)
        async with _opened_log(settings, options) as log_file:
            notifications = Notifications(settings)
            notifications.log_path = str(log_file.path)
            try:
                await on_disk_thread(require_local_ledger, settings)
                async with (
                    opened(settings.storage.manifest_path, create=True) as (ledger, claims),
                    _registered_run(settings, ledger, claims) as number,
                ):
                    parts = (notifier, remotes, ledger, claims, number, log_file, notifications)
                    return await _Run(settings, options, *parts).execute()
            except BaseException as error:
                log.error(f"the run cannot continue: {fault_in(error) or repr(error)}")
                if isinstance(error, Exception):
                    await notifications.cannot_continue(str(fault_in(error) or repr(error)))
                raise


@asynccontextmanager
async def _opened_log(settings: Settings, options: RunOptions) -> AsyncIterator[logs.Log]:
    """Create the folders of a run and open its log; closed with every line written."""
    log_file = await on_disk_thread(_make_folders_and_log, settings, options)
    if options.as_json:
        log_file.stream_json(sys.stdout)
    try:
        yield log_file
    finally:
        with anyio.CancelScope(shield=True):
            await on_disk_thread(log_file.close)


@asynccontextmanager
async def _registered_run(settings: Settings, ledger: Ledger, claims: Claims) -> AsyncIterator[int]:
    """Enter this process among the running instances in the ledger; give its run number."""
    number = await ledger.runs.begin(str(settings.storage.output_dir), claims)
    try:
        yield number
    finally:
        with anyio.CancelScope(shield=True):
            try:
                await ledger.runs.end(number, claims)
            except Fault as fault:  # harmless: the run's claim, which counts, ends with this process
                log.warning(f"cannot record the end of the run: {fault}")


def _make_folders_and_log(settings: Settings, options: RunOptions) -> logs.Log:
    storage = settings.storage
    storage.require_separate_paths()
    for folder in (storage.temp_dir, storage.output_dir, storage.manifest_path.parent):
        hint = "check the path and its permissions, and that its disk is mounted"
        with os_errors("create the folder", folder, hint, Cause.NOT_WRITABLE):
            folder.mkdir(parents=True, exist_ok=True)
    level, console = "DEBUG" if options.verbose else settings.logging.level, settings.logging.console_output
    console_level = "WARNING" if options.quiet else None
    return logs.open_log(storage.log_dir, level, console, settings.logging.max_file_bytes, console_level)


def _open_metrics(path: Path) -> Metrics:
    from rm360_async.service.metrics import Metrics  # with its library, which no other run needs

    return Metrics(path)


class _Run:
    """The parts of one run, put together."""

    def __init__(
        self,
        settings: Settings,
        options: RunOptions,
        notifier: Notifier,
        remotes: list[Remote],
        ledger: Ledger,
        claims: Claims,
        number: int,
        log_file: logs.Log,
        notifications: Notifications,
    ) -> None:
        self.settings, self.options, self.remotes = settings, options, remotes
        self.ledger, self.claims, self.number, self.log_file = ledger, claims, number, log_file
        self.reconciler = Reconciler(settings, ledger, claims)
        self.notifier, self.notifications = notifier, notifications
        self.manifest = ManifestWriter(settings.storage.manifest_path, ledger, claims)
        self.scheduler = Scheduler(wait_for_quota=options.wait)
        processing = settings.processing
        self.retry_policy = retry_policy_of(settings)
        self.stop = Stop(self.scheduler, processing.grace_seconds, self.notifier.notify_stopping)
        self.accounts = build_accounts(settings, remotes)
        self.knows_folders = False
        """The ledger has all published folders; a manifest that is written before would lack some."""
        self.plan: RunPlan | None = None
        self.startup_watch = EventWatch()
        self.started, self.summary = time.monotonic(), RunSummary()
        self.fetched: Callable[[], int] = lambda: 0
        """Returns the bytes that this run has downloaded."""

    async def execute(self) -> int:
        """Do the run while signals are handled; return the exit code."""
        async with anyio.create_task_group() as tasks:
            await tasks.start(self.stop.watch_signals)
            try:
                code = await self._plan_and_process()
                await self._report_end(code)
            except Exception as error:
                with self.stop.renewed_scope():
                    await self.notifications.cannot_continue(str(fault_in(error) or repr(error)), self.ledger)
                raise
            tasks.cancel_scope.cancel()
        logs.emit_event("summary", exit_code=code, **self.summary.as_json())
        return code

    async def _report_end(self, code: int) -> None:
        """Run the user's command for the end of the run; a signal ends the wait for it."""
        with self.stop.renewed_scope():
            summary = await self._summarize()
            stopped = self.stop.exit_code is not None and code == self.stop.exit_code
            await self.notifications.at_end(event_at_end(code, summary.counts, stopped=stopped), code, summary)

    async def _summarize(self) -> RunSummary:
        """Return what the run has done so far, by the ledger."""
        plan = self.plan or RunPlan()
        rows = await self.ledger.rows(plan.states.keys(), claims=self.claims)
        return RunSummary(
            rows, [*plan.remarks, *plan.warnings, *plan.notes], time.monotonic() - self.started, self.fetched()
        )

    async def _plan_and_process(self) -> int:
        try:
            with self.stop.scope:
                for line in await header_lines(self.settings, self.options, self.remotes):
                    log.info(line)
                await self.reconciler.import_existing(self.notifier.show_status)
                self.knows_folders = True
                async with ExtractionWorkers() as workers, self._opened_stages(workers) as stages:
                    await self._process(stages)
        finally:
            self.notifier.notify_stopping()
            with anyio.CancelScope(shield=True):
                code = await self._sum_up(self.plan or RunPlan())
        return code

    @asynccontextmanager
    async def _opened_stages(self, workers: ExtractionWorkers) -> AsyncIterator[Stages]:
        """Give the stages of this machine, or those of a cluster, with whose libraries no other run is loaded."""
        stages = self._build_stages(workers)
        if not self.settings.cluster.is_used:
            yield stages
            return
        from rm360_async.cluster.coordinator import opened_cluster

        async with opened_cluster(stages, self.ledger, self.scheduler) as cluster_stages:
            yield cluster_stages

    async def _process(self, stages: Stages) -> None:
        plan = self.plan = await self._make_plan(stages)
        self.manifest.touch()
        for each, state in plan.states.items():
            self.scheduler.update(each, PlannedState(Stage.PENDING) if each in plan.needs_cleanup else state)
        self.fetched = lambda: stages.fetched_bytes
        async with self.accounts.running(self.ledger.hints, self._count_instances):
            await on_disk_thread(stages.budget.remove_dead_tickets)
            await on_disk_thread(remove_old_logs, self.settings)
            await limit_quarantine(self.settings, self.ledger)
            await self._run_pipeline(stages, plan)
        if not self.scheduler.stopping:
            ended = [each for each in plan.states if each not in self.scheduler.waiting]
            await self.ledger.requests.unforce(ended)

    async def _make_plan(self, stages: Stages) -> RunPlan:
        """Return the plan; if there is work, a worker was tried: before a byte is downloaded that it could not extract.

        Where the ledger shows work already, that is done while the remote is listed.
        """
        totals, unfinished = await self.ledger.overview(self.claims)
        expects_work = bool(unfinished) or totals.stages.get(Stage.COMPLETED, 0) < max(1, sum(totals.stages.values()))
        with unwraps_faults():
            async with anyio.create_task_group() as tasks:
                if expects_work:
                    tasks.start_soon(try_worker, stages.probe_workers, self.retry_policy)
                listing = await self._list_remote()
                self.accounts.recent_files.note(file for files in listing.files.values() for file in files.values())
                force = self.options.replaces_published(self.settings)
                plan = await self.reconciler.plan(listing, self._accounts, force=force)
        if (plan.unfinished() or plan.needs_cleanup) and not expects_work:
            await try_worker(stages.probe_workers, self.retry_policy)
        return plan

    async def _sum_up(self, plan: RunPlan) -> int:
        """Write the end of the log and the manifest; return the exit code."""
        summary = await self._summarize()
        for line in await on_disk_thread(summary_lines, self.settings, summary):
            log.info(line)
        self.summary = summary
        reach("summary logged")
        if self.plan is None and self.stop.exit_code is not None:
            code = self.stop.exit_code  # stopped before it was known what there is to do
        else:
            code = exit_code(summary.rows, plan.remarks, self.stop.exit_code)
        try:
            if self.knows_folders:
                await self.manifest.finish()
        except Fault as fault:  # nothing is lost: the ledger has everything
            hint = f"{fault.hint or 'free its disk'}; then run `rm360 export-manifest`"
            raise Fault(fault.cause, fault.message, hint) from fault
        return code

    @property
    def _accounts(self) -> list[str]:
        return [str(remote) for remote in self.remotes]

    async def _list_remote(self) -> RemoteListing:
        return await list_patiently(
            self.settings,
            self.remotes,
            self.retry_policy,
            attendance=self.options.attendance,
            on_trouble=self._show_trouble,
        )

    async def _show_trouble(self, trouble: str) -> None:
        """Show what keeps the run from its start, in `rm360 status` and in systemd's status line."""
        self.notifier.show_status(trouble)
        snapshot = Snapshot.before_plan(time.time(), trouble)
        await record_snapshot(self.ledger, self.number, snapshot, log_failure=True)
        for event, reason in self.startup_watch.events(snapshot):
            await self.notifications.send(event, reason, await self._summarize())

    def _build_stages(self, workers: ExtractionWorkers) -> Stages:
        job_log = JobLog(self.ledger, self.claims, self.number, self.manifest)
        hints, due_times = self.ledger.hints, self.scheduler.due_times
        return build_stages(self.settings, job_log, hints, self.accounts, due_times, workers)

    async def _count_instances(self) -> int:
        return len(await self.ledger.runs.running(self.claims))

    async def _run_pipeline(self, stages: Stages, plan: RunPlan) -> None:
        processing = self.settings.processing
        sizes = {each: estimate.download_bytes(processing.fetch) for each, estimate in plan.estimates.items()}
        progress = Progress(
            self.scheduler,
            sizes,
            stages.budget,
            self.fetched,
            line=stages.line,
            nodes=stages.node_states,
        )
        path = self.settings.storage.metrics_path
        metrics = await on_disk_thread(_open_metrics, path) if path is not None else None
        with live_display(self.log_file, self.settings.logging.console_output and not self.options.quiet) as live:
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self.manifest.follow)
                    tasks.start_soon(follow_requests, self.ledger, self.scheduler)
                    tasks.start_soon(stages.budget.share_progress)
                    tasks.start_soon(progress.measure_free_bytes)
                    tasks.start_soon(watch_events, progress.snapshot, self._summarize, self.notifications)
                    tasks.start_soon(report_progress, progress, self.ledger, self.number, self.notifier, live, metrics)
                    self.stop.pipeline_running = True
                    await run_pipeline(
                        self.scheduler, stages, stages.width, self.retry_policy, attendance=self.options.attendance
                    )
                    self.stop.pipeline_running = False
                    tasks.cancel_scope.cancel()
            finally:
                if metrics is not None:
                    with anyio.CancelScope(shield=True):
                        await on_disk_thread(metrics.write, progress.snapshot())
