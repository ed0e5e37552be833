"""`run --dry-run`: print the work of a run, its bytes and the disk space it needs, and change nothing."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rm360_async.config import Settings
from rm360_async.domain.counts import StateCounts
from rm360_async.domain.exit_code import ExitCode
from rm360_async.domain.forecast import Capacity, Forecast, extraction_rate, forecast, learned_rate
from rm360_async.domain.formatting import duration_text, rate_text, size_text
from rm360_async.domain.names import Modality, Performance
from rm360_async.domain.quota import with_quota_wait
from rm360_async.domain.release import camera_remarks
from rm360_async.domain.stage import FAILURES, Stage
from rm360_async.domain.state import PerformanceRow
from rm360_async.download.rclone import Remote, RemoteListing
from rm360_async.ledger import Attempt, ledger_path, opened
from rm360_async.service.reconciler import has_selection_changed
from rm360_async.service.run_plan import (
    UNFINISHED,
    RunPlan,
    StartProblem,
    estimate_plan,
    make_plan,
    nearest_existing,
    start_problems,
)
from rm360_async.service.startup import RunOptions, list_remote
from rm360_async.system.disk_threads import on_disk_thread

_BOUND_TEXTS = {"line": "the line", "account": "10 TB a day and account", "disk": "the disk"}


@dataclass(frozen=True)
class DryRun:
    """What a run would do, in bytes and seconds; `rates` are those that it is expected to have."""

    settings: Settings
    plan: RunPlan
    listing: RemoteListing
    rates: Rates
    to_download: Mapping[Performance, int]
    to_write: Mapping[Performance, int]
    problems: Sequence[StartProblem] = ()
    """Why nothing could be started, if that is so."""

    @property
    def download_bytes(self) -> int:
        """Return the bytes that the run downloads."""
        return sum(self.to_download.values())

    @property
    def written_bytes(self) -> int:
        """Return the bytes that the folders will take in output_dir."""
        return sum(self.to_write.values())

    @property
    def forecast(self) -> Forecast | None:
        """Return the least duration; None if the rate is not known or nothing is to be downloaded."""
        return forecast_of(self.settings, self.download_bytes, self.written_bytes, self.rates)

    def as_json(self) -> dict[str, Any]:
        """Return the plan as JSON values; sizes in bytes, times in seconds, rates in bytes a second."""
        plan, settings, least = self.plan, self.settings, self.forecast
        return {
            "performances": [self._performance_json(each) for each in plan.states],
            "bytes_to_download": self.download_bytes,
            "bytes_to_write": self.written_bytes,
            "bytes_free": _free_bytes(settings.storage.output_dir),
            "bytes_kept_free": settings.limits.min_free_bytes,
            "rate": self.rates.line,
            "seconds": least.seconds if least else None,
            "bound_by": least.bound_by if least else None,
            "cannot_start": [str(problem) for problem in self.problems],
            "will_fail": {str(each): reason for each, reason in plan.too_large(settings).items()}
            | {str(each): reason for each, reason in plan.obstacles(settings).items()},
            "remarks": [*plan.remarks, *plan.warnings, *plan.notes],
        }

    def _performance_json(self, performance: Performance) -> dict[str, Any]:
        estimate, unfinished = self.plan.estimates[performance], performance in self.to_download
        fetch = self.settings.processing.fetch
        return {
            "performance": str(performance),
            "action": _action(self.plan, performance),
            "whole_bytes": estimate.whole_bytes,
            "range_bytes": estimate.range_bytes,
            "fetch": estimate.fetch_mode(fetch).value if unfinished else None,
            "bytes_to_download": self.to_download.get(performance, 0),
            "bytes_to_write": self.to_write.get(performance, 0),
            "reason": self.plan.states[performance].reason,
        }


@dataclass(frozen=True)
class Rates:
    """Bytes a second of the line (None if unknown), and of all extractions together (infinity if unknown)."""

    line: float | None = None
    disk: float = math.inf


async def dry_run(settings: Settings, options: RunOptions, remotes: Sequence[Remote]) -> int:
    """Print the plan of a run; return the exit code, SOME_FAILED if a part of the selection is not on the remote."""
    result = await plan_dry_run(settings, options, remotes)
    print(json.dumps(result.as_json(), indent=1) if options.as_json else dry_run_text(result))
    return _exit_code(result.plan)


async def plan_dry_run(settings: Settings, options: RunOptions, remotes: Sequence[Remote]) -> DryRun:
    """Return what a run would do now; changes nothing."""
    listing = await list_remote(settings, remotes[0])
    rows: list[PerformanceRow] = []
    ratios: dict[str, float] = {}
    compare_published = False
    rates = Rates(options.rate)
    if ledger_path(settings.storage.manifest_path).exists():
        async with opened(settings.storage.manifest_path) as (ledger, claims):
            quotas, accounts = await ledger.hints.quotas(), [str(remote) for remote in remotes]
            stored = await ledger.rows(claims=claims)
            rows = [with_quota_wait(row, quotas, accounts, time.time()) for row in stored]
            attempts = await ledger.attempts.all()
            rates = Rates(options.rate or _learned_rate(attempts), _extraction_rate(settings, attempts, rows))
            ratios, compare_published = await ledger.hints.ratios(), await has_selection_changed(ledger, settings)
    if options.replaces_published(settings):
        rows = [PerformanceRow(each, Stage.PENDING, forced=True) for each in listing.files]
    plan = make_plan(settings, listing, rows, time.time(), compare_published=compare_published)
    estimate_plan(settings, plan, ratios, plan.states)
    problems = await on_disk_thread(start_problems, settings)
    to_download = await on_disk_thread(plan.bytes_to_download, settings)
    return DryRun(settings, plan, listing, rates, to_download, plan.bytes_to_write(), problems)


def forecast_of(settings: Settings, download_bytes: int, written_bytes: int, rates: Rates) -> Forecast | None:
    """Return the least duration; None if the line's rate is not known or nothing is to be downloaded."""
    if not download_bytes or rates.line is None:
        return None
    return forecast(download_bytes, written_bytes, Capacity(rates.line, len(settings.google_drive.remotes), rates.disk))


def _exit_code(plan: RunPlan) -> ExitCode:
    """Return the exit code that a run would have as far as the plan tells."""
    fails = any(state.stage in FAILURES for state in plan.states.values())
    return ExitCode.SOME_FAILED if fails or plan.remarks else ExitCode.DONE


def duration_line(settings: Settings, download_bytes: int, written_bytes: int, rates: Rates) -> str:
    """Return the expected duration and what bounds it."""
    if not download_bytes:
        return "expected duration: nothing is to be downloaded"
    least = forecast_of(settings, download_bytes, written_bytes, rates)
    if least is None or rates.line is None:
        return "expected duration: unknown before the first download; with a rate: --dry-run --at 100MB/s"
    bound = _BOUND_TEXTS[least.bound_by]
    if least.bound_by == "disk":
        workers = settings.processing.worker_count
        bound += f", to which {workers} extractions at once write {rate_text(rates.disk)}"
    return f"expected duration: at least {duration_text(least.seconds)} at {rate_text(rates.line)}, bound by {bound}"


def _learned_rate(attempts: Iterable[Attempt]) -> float | None:
    """Return the bytes a second that downloads have achieved so far."""
    return learned_rate(
        (each.started, each.started + each.seconds.get("download", 0.0), each.fetched_bytes) for each in attempts
    )


def _extraction_rate(settings: Settings, attempts: Iterable[Attempt], rows: Iterable[PerformanceRow]) -> float:
    """Return the bytes a second that the extractions of this config write, as earlier ones did."""
    sizes = {row.performance: row.bytes for row in rows if row.stage is Stage.COMPLETED}
    completed = [each for each in attempts if each.outcome == Stage.COMPLETED.value]
    extractions = ((each.seconds.get("extract", 0.0), sizes.get(each.performance, 0)) for each in completed)
    return extraction_rate(extractions, settings.processing.worker_count)


def dry_run_text(result: DryRun) -> str:
    """Return the plan as text: a line for each performance, then totals and remarks; sizes of both fetch modes."""
    settings, plan, listing = result.settings, result.plan, result.listing
    head = f"{'performance':<16} {'to do':<16} {'whole':>10} {'ranges':>10} {'fetch':<7}".rstrip()
    lines = [head, *(_performance_line(settings, plan, each) for each in plan.states), ""] if plan.states else []
    lines += _total_lines(result)
    lines += [f"cannot start: {problem}" for problem in result.problems]
    lines += [f"will fail: {each} {reason}" for each, reason in plan.too_large(settings).items()]
    lines += plan.replacement_lines(settings)
    lines += [f"cameras: {remark}" for remark in _camera_remarks(settings, plan)]
    lines += [f"not released: {warning}" for warning in plan.warnings]
    lines += [f"note: {remark}" for remark in [*plan.remarks, *plan.notes]]
    if listing.unrecognized:
        count, example = len(listing.unrecognized), listing.unrecognized[0]
        lines.append(f"note: {count} remote files do not match the dataset layout, e.g. {example}")
    return "\n".join(lines)


def _action(plan: RunPlan, performance: Performance) -> str:
    """Return what a run does with a performance: extract, complete, or nothing in the state that it is in."""
    if performance in plan.incomplete:
        return "complete"
    stage = plan.states[performance].stage
    return "extract" if stage is Stage.PENDING else stage.value


def _performance_line(settings: Settings, plan: RunPlan, performance: Performance) -> str:
    state, estimate = plan.states[performance], plan.estimates[performance]
    fetch_mode = estimate.fetch_mode(settings.processing.fetch).value if state.stage in UNFINISHED else "-"
    sizes = f"{size_text(estimate.whole_bytes):>10} {'~' + size_text(estimate.range_bytes):>10} {fetch_mode:<7}"
    return f"{performance!s:<16} {_action(plan, performance):<16} {sizes} {state.reason}".rstrip()


def _total_lines(result: DryRun) -> list[str]:
    settings, plan = result.settings, result.plan
    limits, output_dir = settings.limits, settings.storage.output_dir
    largest = max(plan.download_sizes(settings.processing.fetch).values(), default=0)
    counts = StateCounts(Counter(state.stage for state in plan.states.values()))
    free = _free_bytes(output_dir)
    kept = f"({size_text(limits.min_free_bytes)} of it are kept free)"
    lines = [
        f"{counts.planned} performances: {counts}" if plan.states else "no performance is planned",
        f"to download: {size_text(result.download_bytes)}; the largest performance takes {size_text(largest)} in"
        f" temp_dir, which is limited to {size_text(limits.max_temp_bytes)}",
        f"folders will need about {size_text(result.written_bytes)} in {output_dir}, which has {size_text(free)} free"
        f" {kept}",
        duration_line(settings, result.download_bytes, result.written_bytes, result.rates),
    ]
    if not result.problems and result.written_bytes > free - limits.min_free_bytes:
        lines.append("warning: that is more than there is space for: the run will pause until some is freed")
    return lines


def _camera_remarks(settings: Settings, plan: RunPlan) -> list[str]:
    """Return how many cameras the release has, if all are wanted, a line for each kind of performance."""
    if Modality.IMAGES not in settings.extraction.modalities or settings.extraction.cameras != "all":
        return []
    return camera_remarks(settings.google_drive.structure, plan.unfinished(), settings.extraction.cameras)


def _free_bytes(path: Path) -> int:
    return shutil.disk_usage(nearest_existing(path)).free
