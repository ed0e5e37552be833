"""`rm360 status`: the ledger, the claims and the snapshots of running instances, as text or JSON."""

from __future__ import annotations

import json
import time
from typing import Any

import anyio

from rm360_async.config import Settings
from rm360_async.domain.errors import Fault
from rm360_async.domain.formatting import duration_text, size_text, time_text
from rm360_async.domain.stage import CLAIMED_STAGES, Stage
from rm360_async.domain.state import PerformanceRow
from rm360_async.ledger import Run, opened
from rm360_async.service.snapshot import Snapshot, bar_text

_NAMED = 20
_FAILURES = (Stage.FAILED, Stage.DOWNLOAD_FAILED)


async def show(settings: Settings, as_json: bool, watch: bool) -> int:
    """Print the status once, or again every two seconds; return 0."""
    while True:
        try:
            found = await look(settings)
            text = json.dumps(found, indent=1) if as_json else as_text(found)
        except Fault as fault:  # a watch may begin before the run does
            if not watch or as_json:
                raise
            text = str(fault)
        print(("\x1b[H\x1b[2J" if watch and not as_json else "") + text, flush=True)
        if not watch:
            return 0
        await anyio.sleep(2)


async def look(settings: Settings) -> dict[str, Any]:
    """Return the status as plain values; sizes in bytes, times in unix seconds."""
    async with opened(settings.storage.manifest_path) as (ledger, claims):
        totals, rows = await ledger.overview(claims)
        running = await ledger.runs.running(claims)
    return {
        "planned": totals.planned,
        "stages": {stage.value: totals.stages[stage] for stage in Stage if totals.stages[stage]},
        "bytes_published": totals.published_bytes,
        "bytes_fetched": totals.fetched_bytes,
        "in_hand": [
            {"performance": str(r.performance), "stage": r.stage.value} for r in rows if r.stage in CLAIMED_STAGES
        ],
        "waiting": [_waiting(row) for row in rows if row.stage is Stage.WAITING],
        "failed": [
            {"performance": str(row.performance), "status": row.stage.value, "reason": row.reason}
            for row in rows
            if row.stage in _FAILURES
        ],
        "running": [_instance(run) for run in running],
    }


def _waiting(row: PerformanceRow) -> dict[str, Any]:
    cause = row.cause.code if row.cause else ""
    return {"performance": str(row.performance), "for": cause, "until": row.wait_until, "reason": row.reason}


def _instance(run: Run) -> dict[str, Any]:
    return {"pid": run.pid, "host": run.host, "since": run.started, "progress": dict(run.progress)}


def _run_lines(run: dict[str, Any]) -> list[str]:
    """Return what one running instance last told of itself: its work in hand with rates, and the expected end."""
    head = f"running: pid {run['pid']} on {run['host']} for {duration_text(time.time() - run['since'])}"
    if not run["progress"]:
        return [head]
    snapshot = Snapshot.from_dict(run["progress"])
    lines = [f"{head}: {snapshot.line()}"]
    if snapshot.free is not None:
        lines[0] += f"; {size_text(snapshot.free)} free"
    return lines + [f"  {each.performance:<16} {each.stage}: {bar_text(each)}" for each in snapshot.in_hand]


def as_text(found: dict[str, Any]) -> str:
    """Return the status as a person reads it."""
    stages = ", ".join(f"{count} {stage}" for stage, count in found["stages"].items()) or "nothing planned yet"
    lines = [
        f"{found['planned']} performances: {stages}",
        f"{size_text(found['bytes_published'])} published, {size_text(found['bytes_fetched'])} fetched",
    ]
    for run in found["running"]:
        lines += _run_lines(run)
    if not found["running"]:
        lines.append("no run is going on")
    lines += [
        f"  {each['performance']:<16} waiting for {each['for']}, until {time_text(each['until'])}: {each['reason']}"
        for each in found["waiting"][:_NAMED]
    ]
    lines += [f"  {each['performance']:<16} {each['status']}: {each['reason']}" for each in found["failed"][:_NAMED]]
    more = max(0, len(found["waiting"]) - _NAMED) + max(0, len(found["failed"]) - _NAMED)
    return "\n".join(lines + ([f"  and {more} more, see MANIFEST.csv"] if more else []))
