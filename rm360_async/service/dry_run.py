"""`run --dry-run`: print the work of a run, its bytes and the disk space it needs, and change nothing."""

from __future__ import annotations

import math
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from rm360_async.config import Settings
from rm360_async.domain.exit_code import ExitCode
from rm360_async.domain.forecast import Capacity, extraction_rate, forecast, learned_rate
from rm360_async.domain.formatting import duration_text, size_text
from rm360_async.domain.names import Modality, Performance
from rm360_async.domain.quota import with_quota_wait
from rm360_async.domain.release import camera_remarks
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import PerformanceRow
from rm360_async.download.rclone import Remote, RemoteListing
from rm360_async.ledger import Attempt, ledger_path, opened
from rm360_async.service.reconciler import has_selection_changed
from rm360_async.service.run_plan import UNFINISHED, RunPlan, estimate_plan, make_plan
from rm360_async.service.startup import RunOptions, list_remote
from rm360_async.stages.reserve import OUTPUT_RATIO

_BOUND_TEXTS = {"line": "the line", "account": "10 TB a day and account", "disk": "the disk"}


async def dry_run(settings: Settings, options: RunOptions, remotes: Sequence[Remote]) -> int:
    """Print the plan of a run; return the exit code, SOME_FAILED if a part of the selection is not on the remote."""
    listing = await list_remote(settings, remotes[0])
    rows: list[PerformanceRow] = []
    ratios: dict[str, float] = {}
    compare_published = False
    rate, disk_rate = options.rate, math.inf
    if ledger_path(settings.storage.manifest_path).exists():
        async with opened(settings.storage.manifest_path) as (ledger, claims):
            quotas, accounts = await ledger.hints.quotas(), [str(remote) for remote in remotes]
            stored = await ledger.rows(claims=claims)
            rows = [with_quota_wait(row, quotas, accounts, time.time()) for row in stored]
            attempts = await ledger.attempts.all()
            rate, disk_rate = rate or _learned_rate(attempts), _extraction_rate(settings, attempts, rows)
            ratios, compare_published = await ledger.hints.ratios(), await has_selection_changed(ledger, settings)
    if options.replaces_published(settings):
        rows = [PerformanceRow(each, Stage.PENDING, forced=True) for each in listing.files]
    plan = make_plan(settings, listing, rows, time.time(), compare_published=compare_published)
    estimate_plan(settings, plan, ratios, plan.states)
    print(dry_run_text(settings, plan, listing))
    print(duration_line(settings, sum(plan.download_sizes(settings.processing.fetch).values()), rate, disk_rate))
    return ExitCode.SOME_FAILED if plan.remarks else ExitCode.DONE


def duration_line(settings: Settings, download_bytes: int, rate: float | None, disk_rate: float) -> str:
    """Return the expected duration and what bounds it.

    `rate` is that of the line in bytes a second, if known; `disk_rate` that of all extractions, infinity if unknown.
    """
    if not download_bytes:
        return "expected duration: nothing is to be downloaded"
    if rate is None:
        return "expected duration: unknown before the first download; with a rate: --dry-run --at 100MB/s"
    capacity = Capacity(rate, len(settings.google_drive.remotes), disk_rate)
    least = forecast(download_bytes, download_bytes * OUTPUT_RATIO, capacity)
    bound = _BOUND_TEXTS[least.bound_by]
    if least.bound_by == "disk":
        bound += f", to which {settings.processing.worker_count} extractions at once write {size_text(disk_rate)}/s"
    return f"expected duration: at least {duration_text(least.seconds)} at {size_text(rate)}/s, bound by {bound}"


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


def dry_run_text(settings: Settings, plan: RunPlan, listing: RemoteListing) -> str:
    """Return the plan as text: a line for each performance, then totals and remarks; sizes of both fetch modes."""
    sizes = plan.download_sizes(settings.processing.fetch)
    head = f"{'performance':<16} {'to do':<16} {'whole':>10} {'ranges':>10} {'fetch':<7}"
    lines = [head] if plan.states else []
    lines += [_performance_line(settings, plan, each) for each in plan.states]
    lines += ["", *_total_lines(settings, plan, sizes)]
    lines += [f"will fail: {each} {reason}" for each, reason in plan.too_large(settings).items()]
    lines += plan.replacement_lines(settings)
    lines += [f"cameras: {remark}" for remark in _camera_remarks(settings, plan)]
    lines += [f"not released: {warning}" for warning in plan.warnings]
    lines += [f"note: {remark}" for remark in [*plan.notes, *plan.remarks]]
    if listing.unrecognized:
        count, example = len(listing.unrecognized), listing.unrecognized[0]
        lines.append(f"note: {count} remote files do not match the dataset layout, e.g. {example}")
    return "\n".join(lines)


def _performance_line(settings: Settings, plan: RunPlan, performance: Performance) -> str:
    state, estimate = plan.states[performance], plan.estimates[performance]
    action = "extract" if state.stage is Stage.PENDING else state.stage.value
    action = "complete" if performance in plan.incomplete else action
    fetch_mode = estimate.fetch_mode(settings.processing.fetch).value if state.stage in UNFINISHED else "-"
    sizes = f"{size_text(estimate.whole_bytes):>10} {'~' + size_text(estimate.range_bytes):>10} {fetch_mode:<7}"
    return f"{performance!s:<16} {action:<16} {sizes} {state.reason}".rstrip()


def _total_lines(settings: Settings, plan: RunPlan, sizes: dict[Performance, int]) -> list[str]:
    counts = Counter(state.stage.value for state in plan.states.values())
    limits, output_dir = settings.limits, settings.storage.output_dir
    total, largest = sum(sizes.values()), max(sizes.values(), default=0)
    return [
        "  ".join(f"{stage}: {count}" for stage, count in sorted(counts.items())) or "no performance is planned",
        f"to download: {size_text(total)}; largest performance {size_text(largest)},"
        f" temp_dir is limited to {size_text(limits.max_temp_bytes)}",
        f"folders will need about {size_text(total * OUTPUT_RATIO)} in {output_dir},"
        f" which has {_free_text(output_dir)} free ({size_text(limits.min_free_bytes)} of it are kept free)",
    ]


def _camera_remarks(settings: Settings, plan: RunPlan) -> list[str]:
    """Return how many cameras the release has, if all are wanted, a line for each kind of performance."""
    if Modality.IMAGES not in settings.extraction.modalities or settings.extraction.cameras != "all":
        return []
    return camera_remarks(settings.google_drive.structure, plan.unfinished(), settings.extraction.cameras)


def _free_text(path: Path) -> str:
    existing = next(each for each in (path, *path.parents) if each.exists())
    return size_text(shutil.disk_usage(existing).free)
