"""The tables of a page: calibration checks, coverage, what is absent, sizes and times, and the source."""

from __future__ import annotations

from typing import Any

from rm360_async.domain.cameras.calibration.check import Check
from rm360_async.domain.cameras.coverage import coverage
from rm360_async.domain.cameras.rig import rig
from rm360_async.domain.check_status import CheckState
from rm360_async.domain.record import Record
from rm360_async.domain.release import Absence
from rm360_async.visualization.coverage_plot import coverage_map
from rm360_async.visualization.published_folder import BROKEN
from rm360_async.visualization.report.page_data import PageData, missing_calibration_check
from rm360_async.visualization.report.panels.panel import Panel

MAX_KINDS = 30
MAX_LEFT_OUT = 50
MIN_STEP_SECONDS = 0.0005
"""Shorter steps of the extraction get no line."""
MAX_CAMERAS_OF_ONE_SIDE = 2
"""So few cameras cover no circle: a gap of 180 degrees or more is what was asked for."""
_MB = 2**20
_NO_RECORD = "an earlier tool or version published"


def calibration_panel(data: PageData) -> Panel:
    """Return the checks of the calibration, and the convention of RT."""
    result = data.calibration
    checks: tuple[Check, ...] = result.checks if result else (missing_calibration_check(data),)
    state = result.state if result else checks[0].state
    bad = [check for check in checks if check.state in (CheckState.FAIL, CheckState.WARN)]
    sentence = "; ".join(f"{check.name}: {check.sentence}" for check in bad)
    if not sentence:
        sentence = checks[0].sentence
        if result:
            sentence = f"{len(result.positions)} cameras, read as {result.convention}; all checks pass"
    numbers = {"reading": str(result.convention) if result else None, "checks": [check.as_json() for check in checks]}
    return Panel("calibration", "Calibration", state, sentence, numbers, {"checks": checks})


def coverage_panel(data: PageData) -> Panel:
    """Return the map of the directions that are covered."""
    folder, result = data.folder, data.calibration
    absences = {camera: folder.camera_absence(camera) for camera in rig() if camera not in folder.frames}
    available = [camera for camera, absence in absences.items() if absence == Absence.NOT_WANTED.value]
    lost = [camera for camera, absence in absences.items() if absence in (Absence.LOST.value, BROKEN)]
    kept = [camera for camera in folder.frames if camera in rig()]
    covered = coverage(kept)
    numbers = {
        "cameras": len(kept),
        "lost": lost,
        "gap": round(covered.gap, 2),
        "worst": round(covered.worst, 2),
        "mean": round(covered.mean, 2),
        "tiers": covered.tiers,
    }
    tiers = ", ".join(f"{count} {tier}" for tier, count in covered.tiers.items()) or "no camera"
    sentence = f"{tiers}; largest azimuth gap {covered.gap:.1f} degrees, "
    sentence += f"worst direction {covered.worst:.1f} degrees from a camera"
    sentence += f"; lost: {' '.join(lost)}" if lost else ""
    directions = None
    if result:
        directions = {position.id: (position.azimuth, position.elevation) for position in result.positions}
    content = {"drawing": coverage_map("Directions of the cameras", kept, available, directions)}
    state = CheckState.WARN if lost else CheckState.OK if len(kept) > MAX_CAMERAS_OF_ONE_SIDE else CheckState.UNCHECKED
    return Panel("coverage", "Coverage", state, sentence, numbers, content)


def absent_panel(data: PageData) -> Panel:
    """Return what was lost, and what is absent because it was never released."""
    record, info, verdict = data.folder.record, data.info, data.folder.verdict
    level = verdict.split(":")[0]
    state = CheckState.WARN if level == "damaged" else CheckState.OK if level else CheckState.UNCHECKED
    left_out = [str(item) for item in record.left_out] if record else []
    lost = [{"check": check, "what": message} for check, message in info.findings]
    numbers = {
        "verdict": verdict,
        "lost": lost,
        "left_out": left_out,
        "absent_as_released": list(info.absent_as_released),
        "warnings": list(info.warnings),
    }
    parts = [level or f"{_NO_RECORD} this folder, without a verdict"]
    parts += [f"{len(lost)} finding{'s' if len(lost) > 1 else ''}"] if lost else []
    parts += [f"{len(info.absent_as_released)} absent as released"] if info.absent_as_released else []
    more = max(0, len(left_out) - MAX_LEFT_OUT)
    content = {"lost": lost, "left_out": left_out[:MAX_LEFT_OUT], "more": more, "info": info}
    return Panel("absent", "Absent as released, and lost", state, "; ".join(parts), numbers, content)


def sizes_panel(data: PageData) -> Panel:
    """Return files and bytes of each kind, compared with the marker, and the durations of the extraction's steps."""
    record, inventory = data.folder.record, data.inventory
    kinds = dict(sorted(inventory.kinds.items(), key=lambda item: -item[1][1]))
    seconds = record.seconds if record else {}
    numbers: dict[str, Any] = {
        "files": inventory.files,
        "bytes": inventory.bytes,
        "kinds": {kind: {"files": files, "bytes": size} for kind, (files, size) in kinds.items()},
        "seconds": seconds,
    }
    total = sum(seconds.values())
    sentence = f"{inventory.files} files, {inventory.bytes / _MB:.1f} MB"
    sentence += f"; extracted in {total:.1f} s" if total else ""
    state = CheckState.OK
    if record is None or inventory.problem:
        state = CheckState.UNCHECKED
    elif (record.files, record.bytes) != (inventory.files, inventory.bytes):
        state = CheckState.FAIL
        sentence += f"; but the marker says {record.files} files, {record.bytes / _MB:.1f} MB"
    content = {"kinds": _kind_rows(kinds), "steps": _step_rows(seconds)}
    return Panel("sizes", "Sizes and times", state, sentence, numbers, content)


def _kind_rows(kinds: dict[str, tuple[int, int]]) -> list[tuple[str, int, float, int]]:
    """Return kind, files, megabytes, and the length of the bar in percent."""
    largest = max((size for _, size in kinds.values()), default=0) or 1
    rows = [(kind, files, size / _MB, round(100 * size / largest)) for kind, (files, size) in kinds.items()]
    return rows[:MAX_KINDS]


def _step_rows(seconds: dict[str, float]) -> list[tuple[str, float, int]]:
    """Return step, seconds, and the length of the bar in percent; the longest first."""
    longest = max(seconds.values(), default=0) or 1
    steps = sorted(seconds.items(), key=lambda item: -item[1])
    return [(step, taken, round(100 * taken / longest)) for step, taken in steps if taken >= MIN_STEP_SECONDS]


def source_panel(data: PageData) -> Panel:
    """Return the source files, the version that extracted them, and when."""
    record = data.folder.record
    if record is None:
        return Panel("source", "Source", CheckState.UNCHECKED, f"{_NO_RECORD} it; its source is not known")
    sources = [
        {"path": source.path, "size": source.size, "md5": source.md5, "modified": source.modified}
        for source in record.sources
    ]
    with_md5 = sum(bool(source.md5) for source in record.sources)
    by_ranges = record.fetched == "ranges"
    sentence = f"version {record.version}, published {record.published}; "
    sentence += f"md5 known of {with_md5} of {len(sources)} files"
    sentence += "; downloaded by ranges, so the md5 of a whole file was not compared" if by_ranges else ""
    numbers = {"version": record.version, "published": record.published, "fetched": record.fetched, "sources": sources}
    state = CheckState.OK if with_md5 == len(sources) and not by_ranges else CheckState.UNCHECKED
    return Panel("source", "Source", state, sentence, numbers, {"record": record, "wanted": _wanted_text(record)})


def _wanted_text(record: Record) -> str:
    cameras = record.wanted_cameras if isinstance(record.wanted_cameras, str) else " ".join(record.wanted_cameras)
    return f"cameras {cameras}; {', '.join(record.wanted_modalities)}"
