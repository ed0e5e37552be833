"""What `run --dry-run` prints: the work, its bytes, the disk it needs."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

from rm360_async.config import Settings
from rm360_async.domain.formatting import size_text
from rm360_async.domain.names import Modality
from rm360_async.domain.release import camera_remarks
from rm360_async.domain.stage import Stage
from rm360_async.download.rclone import RemoteListing
from rm360_async.service.run_plan import RunPlan

_OUTPUT_RATIO = 1.1
"""Folders are about as large as their files: verbatim images, plus wav and npz of the audio."""


def dry_run_text(settings: Settings, plan: RunPlan, listing: RemoteListing) -> str:
    """Return the plan as text, one line a performance, with the bytes that both ways of fetching would cost."""
    wish = settings.processing.fetch
    lines = [f"{'performance':<16} {'to do':<16} {'whole':>10} {'ranges':>10} {'fetch':<7}"]
    staged = {each: plan.foreseen[each].staging_bytes(wish) for each in plan.open()}
    for each, place in plan.standings.items():
        found = plan.foreseen[each]
        todo = "extract" if place.stage is Stage.PENDING else place.stage.value
        todo = "complete" if each in plan.completing else todo
        way = found.fetch_mode(wish).value if each in staged else "-"
        costs = f"{size_text(found.whole_bytes):>10} {'~' + size_text(found.range_bytes):>10} {way:<7}"
        lines.append(f"{each!s:<16} {todo:<16} {costs} {place.reason}".rstrip())
    counts = Counter(place.stage.value for place in plan.standings.values())
    fetch, largest = sum(staged.values()), max(staged.values(), default=0)
    limit = settings.limits.max_temp_bytes
    lines += [
        "",
        "  ".join(f"{stage}: {count}" for stage, count in sorted(counts.items())) or "nothing is planned",
        f"to download: {size_text(fetch)}; largest performance {size_text(largest)},"
        f" staging may use {size_text(limit)}",
        f"folders will need about {size_text(fetch * _OUTPUT_RATIO)} in {settings.storage.output_dir},"
        f" which has {_free(settings.storage.output_dir)} free"
        f" ({size_text(settings.limits.min_free_bytes)} of it stay free)",
    ]
    lines += [f"will fail: {each} {reason}" for each, reason in plan.too_large(settings).items()]
    lines += [f"cameras: {remark}" for remark in _cameras(settings, plan)]
    lines += [f"note: {remark}" for remark in plan.remarks]
    if listing.unrecognized:
        ignored = listing.unrecognized
        lines.append(f"note: ignored {len(ignored)} remote files outside the dataset layout, e.g. {ignored[0]!r}")
    return "\n".join(lines)


def _cameras(settings: Settings, plan: RunPlan) -> list[str]:
    """Return which wanted cameras the release is known not to have, a line for each kind of performance."""
    if Modality.IMAGES not in settings.extraction.modalities:
        return []
    return camera_remarks(settings.google_drive.structure, plan.open(), settings.extraction.cameras)


def _free(path: Path) -> str:
    existing = next(each for each in (path, *path.parents) if each.exists())
    return size_text(shutil.disk_usage(existing).free)
