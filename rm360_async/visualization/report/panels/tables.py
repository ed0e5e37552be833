"""What a page says in tables: calibration checks, what is absent, sizes and times, and where it all came from."""

from __future__ import annotations

from typing import Any

from rm360_async.domain.cameras.calibration.check import Check
from rm360_async.domain.cameras.coverage import coverage
from rm360_async.domain.cameras.rig import rig
from rm360_async.domain.check_status import CheckState
from rm360_async.domain.record import Record
from rm360_async.domain.release import Absence
from rm360_async.visualization.coverage_plot import coverage_map
from rm360_async.visualization.report.page_data import PageData, no_calibration
from rm360_async.visualization.report.panels.panel import Panel

_MB = 2**20
_KINDS = 30
_TOLD = 0.0005
"""Seconds below which a step is not worth a line."""


def calibration_panel(material: PageData) -> Panel:
    """Return the checks of the calibration, and how RT is read."""
    report = material.calibration
    checks: tuple[Check, ...] = report.checks if report else (no_calibration(material),)
    state = report.state if report else checks[0].state
    bad = [check for check in checks if check.state in (CheckState.FAIL, CheckState.WARN)]
    sentence = "; ".join(f"{check.name}: {check.sentence}" for check in bad) or (
        f"{len(report.positions)} cameras, read as {report.convention}; all checks pass"
        if report
        else checks[0].sentence
    )
    numbers = {"reading": str(report.convention) if report else None, "checks": [check.as_json() for check in checks]}
    return Panel("calibration", "Calibration", state, sentence, numbers, {"checks": checks})


def coverage_panel(material: PageData) -> Panel:
    """Return the map of the directions that are covered."""
    folder = material.folder
    reasons = {camera: folder.camera_absence(camera) for camera in rig() if camera not in folder.frames}
    available = [camera for camera, reason in reasons.items() if reason == Absence.NOT_WANTED.value]
    lost = [camera for camera, reason in reasons.items() if reason in (Absence.LOST.value, "broken")]
    kept = [camera for camera in folder.frames if camera in rig()]
    found = coverage(kept)
    numbers = {
        "cameras": len(kept),
        "lost": lost,
        "gap": round(found.gap, 2),
        "worst": round(found.worst, 2),
        "mean": round(found.mean, 2),
        "tiers": found.tiers,
    }
    tiers = ", ".join(f"{count} {tier}" for tier, count in found.tiers.items()) or "no camera"
    sentence = (
        f"{tiers}; largest azimuth gap {found.gap:.1f} degrees, worst direction {found.worst:.1f} degrees from a camera"
    )
    sentence += f"; lost: {' '.join(lost)}" if lost else ""
    report = material.calibration
    places = {each.id: (each.azimuth, each.elevation) for each in report.positions} if report else None
    drawn = {"drawing": coverage_map("Coverage", kept, available, places)}
    return Panel("coverage", "Coverage", CheckState.FAIL if lost else CheckState.OK, sentence, numbers, drawn)


def absent_panel(material: PageData) -> Panel:
    """Return what was lost, and what is absent because it was never released."""
    record, told = material.folder.record, material.told
    verdict = record.verdict if record else ""
    word = verdict.split(":")[0]
    state = CheckState.FAIL if word == "damaged" else CheckState.OK if word else CheckState.UNCHECKED
    left_out = [str(item) for item in record.left_out] if record else []
    lost = [{"check": check, "what": what} for check, what in told.findings]
    numbers = {
        "verdict": verdict,
        "lost": lost,
        "left_out": left_out,
        "absent_as_released": list(told.absent_as_released),
        "warnings": list(told.warnings),
    }
    parts = [word or "an earlier tool or version published this folder, without a verdict"]
    parts += [f"{len(lost)} found wrong"] if lost else []
    parts += [f"{len(told.absent_as_released)} absent as released"] if told.absent_as_released else []
    drawn = {"lost": lost, "left_out": left_out[:50], "more": max(0, len(left_out) - 50), "told": told}
    return Panel("absent", "Absent as released, and lost", state, "; ".join(parts), numbers, drawn)


def sizes_panel(material: PageData) -> Panel:
    """Return files and bytes of each kind against the marker, and what the extraction took."""
    record, found = material.folder.record, material.inventory
    kinds = {kind: found.kinds[kind] for kind in sorted(found.kinds, key=lambda kind: -found.kinds[kind][1])}
    numbers: dict[str, Any] = {
        "files": found.files,
        "bytes": found.bytes,
        "kinds": {kind: {"files": files, "bytes": size} for kind, (files, size) in kinds.items()},
        "seconds": record.seconds if record else {},
    }
    total = sum(numbers["seconds"].values())
    sentence = f"{found.files} files, {found.bytes / _MB:.1f} MB" + (f"; extracted in {total:.1f} s" if total else "")
    state = CheckState.OK
    if record is None or found.trouble:
        state = CheckState.UNCHECKED
    elif (record.files, record.bytes) != (found.files, found.bytes):
        state = CheckState.FAIL
        sentence += f"; but the marker says {record.files} files, {record.bytes / _MB:.1f} MB"
    most = max((size for _, size in kinds.values()), default=0) or 1
    rows = [(kind, files, size / _MB, round(100 * size / most)) for kind, (files, size) in list(kinds.items())[:_KINDS]]
    times = sorted(numbers["seconds"].items(), key=lambda item: -item[1])
    longest = max(numbers["seconds"].values(), default=0) or 1
    drawn = {
        "rows": rows,
        "times": [(step, took, round(100 * took / longest)) for step, took in times if took >= _TOLD],
    }
    return Panel("sizes", "Sizes and times", state, sentence, numbers, drawn)


def source_panel(material: PageData) -> Panel:
    """Return from which files, by which version and when."""
    record = material.folder.record
    if record is None:
        return Panel(
            "source", "Source", CheckState.UNCHECKED, "an earlier tool or version published it; its source is not known"
        )
    sources = [
        {"path": each.path, "size": each.size, "md5": each.md5, "modified": each.modified} for each in record.sources
    ]
    known = sum(bool(each.md5) for each in record.sources)
    sentence = f"version {record.version}, published {record.published}; md5 known of {known} of {len(sources)} files"
    sentence += "; fetched by ranges, so the md5 of a whole file was not compared" if record.fetched == "ranges" else ""
    numbers = {"version": record.version, "published": record.published, "fetched": record.fetched, "sources": sources}
    state = CheckState.OK if known == len(sources) and record.fetched != "ranges" else CheckState.UNCHECKED
    return Panel("source", "Source", state, sentence, numbers, {"record": record, "wanted": _wanted(record)})


def _wanted(record: Record) -> str:
    cameras = record.wanted_cameras if isinstance(record.wanted_cameras, str) else " ".join(record.wanted_cameras)
    return f"cameras {cameras}; {', '.join(record.wanted_modalities)}"
