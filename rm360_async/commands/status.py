"""`rm360 status`: the ledger, and the snapshots that running instances record in it, as text or JSON."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import anyio

from rm360_async.config import Settings
from rm360_async.domain.counts import StateCounts
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.exit_code import ExitCode
from rm360_async.domain.formatting import duration_text, size_text, time_text
from rm360_async.domain.stage import CLAIMED_STAGES, FAILURES, Stage
from rm360_async.domain.state import PerformanceRow
from rm360_async.ledger import Run, opened
from rm360_async.service.snapshot import Snapshot, bar_text
from rm360_async.system.disk_threads import on_disk_thread, unreadable_reason

_MAX_ROWS_SHOWN = 20
_WATCH_SECONDS = 2.0
STALE_SECONDS = 60.0
"""A run records its progress every ten seconds; after so long without, it is not believed to go on."""
_CLEAR_SCREEN = "\x1b[H\x1b[2J"


async def print_status(settings: Settings, as_json: bool, watch: bool) -> int:
    """Print the status once, or again every two seconds; return the exit code."""
    while True:
        try:
            status = await read_status(settings)
            text = json.dumps(status, indent=1) if as_json else _folded(as_text(status))
        except Fault as fault:  # a watch may begin before the run does
            if not watch or as_json:
                raise
            text = str(fault)
        print((_CLEAR_SCREEN if watch and not as_json else "") + text, flush=True)
        if not watch:
            return ExitCode.DONE
        await anyio.sleep(_WATCH_SECONDS)


async def read_status(settings: Settings) -> dict[str, Any]:
    """Return the status as JSON values; sizes in bytes, times in unix seconds."""
    folder = settings.storage.manifest_path.parent
    if reason := await on_disk_thread(unreadable_reason, folder):
        hint = "check its mode, its owner and its mount"
        raise Fault(Cause.LEDGER, f"the status is unknown: cannot read {folder}: {reason}", hint)
    async with opened(settings.storage.manifest_path) as (ledger, claims):
        totals, rows = await ledger.overview(claims)
        running = await ledger.runs.running(claims)
    return {
        "planned": totals.counts.planned,
        "stages": {stage.value: totals.stages[stage] for stage in Stage if totals.stages[stage]},
        "damaged": totals.damaged,
        "bytes_published": totals.published_bytes,
        "bytes_fetched": totals.fetched_bytes,
        "in_hand": [
            {"performance": str(row.performance), "stage": row.stage.value}
            for row in rows
            if row.stage in CLAIMED_STAGES
        ],
        "waiting": [_waiting(row) for row in rows if row.stage is Stage.WAITING],
        "failed": [
            {"performance": str(row.performance), "status": row.stage.value, "reason": row.reason}
            for row in rows
            if row.stage in FAILURES
        ],
        "running": [_instance(run) for run in running],
    }


def _folded(text: str) -> str:
    """Return the text with its lines folded between words, if a terminal shows it."""
    if not sys.stdout.isatty():
        return text
    width = max(20, shutil.get_terminal_size().columns - 1)
    indent = " " * 4
    folded = [textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False) for line in text.split("\n")]
    return "\n".join(line for lines in folded for line in lines or [""])


def _waiting(row: PerformanceRow) -> dict[str, Any]:
    cause = row.cause.code if row.cause else ""
    return {"performance": str(row.performance), "for": cause, "until": row.wait_until, "reason": row.reason}


def _instance(run: Run) -> dict[str, Any]:
    return {
        "pid": run.pid,
        "host": run.host,
        "since": run.started,
        "heard": run.progress_at,
        "progress": dict(run.progress),
    }


def as_text(status: Mapping[str, Any]) -> str:
    """Return the status as text for a terminal."""
    stages = {Stage(stage): count for stage, count in status["stages"].items()}
    counts = str(StateCounts(stages, status["damaged"])) or "nothing is planned yet"
    lines = [
        f"{status['planned']} performances: {counts}",
        f"{size_text(status['bytes_published'])} published, {size_text(status['bytes_fetched'])} downloaded",
    ]
    for instance in status["running"]:
        lines += _instance_lines(instance)
    if not status["running"]:
        lines.append("no run is active")
    lines += [
        f"  {each['performance']:<16} waiting for {each['for']}, until {time_text(each['until'])}: {each['reason']}"
        for each in status["waiting"][:_MAX_ROWS_SHOWN]
    ]
    if status["waiting"]:
        lines.append("  to end these waits now: rm360 retry --waiting")
    failed = status["failed"]
    lines += [f"  {each['performance']:<16} {each['status']}: {each['reason']}" for each in failed[:_MAX_ROWS_SHOWN]]
    hidden = max(0, len(status["waiting"]) - _MAX_ROWS_SHOWN) + max(0, len(failed) - _MAX_ROWS_SHOWN)
    return "\n".join(lines + ([f"  and {hidden} more, see MANIFEST.csv"] if hidden else []))


def _instance_lines(instance: Mapping[str, Any]) -> list[str]:
    """Return the last snapshot of a running instance: totals, and a line for each performance being processed."""
    now, heard = time.time(), instance["heard"]
    head = f"running: pid {instance['pid']} on {instance['host']} for {duration_text(now - instance['since'])}"
    if not instance["progress"]:
        return [head]
    if is_stale := heard is not None and now - heard > STALE_SECONDS:
        head += f", last heard of {duration_text(now - heard)} ago (stopped, or its disk does not answer); it was then"
    snapshot = Snapshot.from_dict(instance["progress"])
    free = "" if snapshot.free is None else f"; {size_text(snapshot.free)} free on the output disk"
    lines = [f"{head}: {snapshot.line()}{free}"]
    jobs = [replace(job, rate=0.0) if is_stale else job for job in snapshot.in_hand]
    lines += [f"  node {node.name:<11} {node.line()}" for node in snapshot.nodes]
    return lines + [f"  {job.performance:<16} {job.stage}: {bar_text(job)}" for job in jobs]
