"""`cameras analyze` as text and as JSON: the checks, the coverage of the cameras with images, and where each stands."""

from __future__ import annotations

import json
import math
from pathlib import Path

from rm360_async.domain.cameras.calibration.checks import CalibrationResult, check_calibration
from rm360_async.domain.cameras.coverage import Coverage, coverage
from rm360_async.domain.check_status import CheckState
from rm360_async.visualization.calibration_source import CalibrationSource
from rm360_async.visualization.coverage_plot import coverage_map
from rm360_async.visualization.raster import write_output_file
from rm360_async.visualization.rig_plot import rig_views

_MARKS = {CheckState.OK: "ok  ", CheckState.WARN: "WARN", CheckState.FAIL: "FAIL", CheckState.UNCHECKED: "?   "}


def analyze(found: CalibrationSource) -> CalibrationResult:
    """Return the checks; cameras with images must have a calibration."""
    return check_calibration(found.cameras, found.size, found.kept)


def analysis_text(found: CalibrationSource, report: CalibrationResult) -> str:
    """Return the analysis as a person reads it."""
    size = f"{found.size[1]} x {found.size[0]} px" if found.size else "no image, size not known"
    lines = [
        f"{found.name}: calibration of {len(found.cameras)} cameras, {len(found.kept)} with images; {size}",
        f"calibration: {report.state.value}",
        "",
        *(f"  {_MARKS[check.state]} {check.name:<14} {check.sentence}" for check in report.checks),
        "",
        *(f"  note: {note}" for note in found.notes),
        coverage_line("cameras with images", coverage(found.kept)),
        "",
        "  camera  azimuth  elevation  tier       distance m  axis misses mm  images",
    ]
    for each in sorted(report.positions, key=lambda each: each.azimuth):
        state = "yes" if each.id in found.kept else "-"
        lines.append(
            f"  {each.id:<6}  {each.azimuth:+7.1f}  {each.elevation:+9.1f}  {each.tier:<9}  "
            f"{each.distance:10.3f}  {each.miss_mm:14.0f}  {state}"
        )
    return "\n".join([*lines, "  azimuth 0 is at the face, + to the subject's left; degrees"])


def coverage_line(what: str, found: Coverage) -> str:
    """Return gap, worst, mean and tiers on a line."""
    tiers = ", ".join(f"{count} {tier}" for tier, count in found.tiers.items()) or "none"
    return (
        f"  {what}: largest azimuth gap {found.gap:.1f} degrees, worst direction {found.worst:.1f} degrees "
        f"from a camera (mean {found.mean:.1f}); {tiers}"
    )


def analysis_json(found: CalibrationSource, report: CalibrationResult) -> str:
    """Return the same as one JSON object."""
    kept = coverage(found.kept)
    value = {
        "name": found.name,
        "state": report.state.value,
        "reading": str(report.convention),
        "image_size": None if found.size is None else {"height": found.size[0], "width": found.size[1]},
        "head": None if report.head is None else [round(value, 6) for value in report.head],
        "checks": [check.as_json() for check in report.checks],
        "with_images": list(found.kept),
        "coverage": {"gap": kept.gap, "worst": kept.worst, "mean": kept.mean, "tiers": kept.tiers},
        "cameras": {
            each.id: {
                "azimuth": _number(each.azimuth),
                "elevation": _number(each.elevation),
                "tier": each.tier,
                "distance": _number(each.distance),
                "miss_mm": _number(each.miss_mm),
            }
            for each in report.positions
        },
        "notes": list(found.notes),
    }
    return json.dumps(value, indent=1, ensure_ascii=False)


def _number(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def write_plots(found: CalibrationSource, report: CalibrationResult, folder: Path) -> tuple[Path, Path]:
    """Write rig.svg and coverage.svg and return their paths; Fault when they cannot be written."""
    places = {each.id: (each.azimuth, each.elevation) for each in report.positions}
    rig, covered = folder / "rig.svg", folder / "coverage.svg"
    write_output_file(rig, rig_views(found.name, report, found.kept).encode())
    write_output_file(covered, coverage_map(found.name, found.kept, found.available, places or None).encode())
    return rig, covered
