"""`cameras analyze` as text, as JSON and as plots: checks, coverage of the cameras with images, and positions."""

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

_STATE_TEXTS = {CheckState.OK: "ok  ", CheckState.WARN: "WARN", CheckState.FAIL: "FAIL", CheckState.UNCHECKED: "?   "}


def analyze(source: CalibrationSource) -> CalibrationResult:
    """Return the checks of a calibration; cameras with images must have one."""
    return check_calibration(source.cameras, source.size, source.with_images)


def analysis_text(source: CalibrationSource, result: CalibrationResult) -> str:
    """Return the analysis as text."""
    size = f"{source.size[1]} x {source.size[0]} px" if source.size else "no image, size not known"
    counts = f"{len(source.cameras)} cameras, {len(source.with_images)} with images"
    lines = [
        f"{source.name}: calibration of {counts}; {size}",
        f"calibration: {result.state.value}",
        "",
        *(f"  {_STATE_TEXTS[check.state]} {check.name:<14} {check.sentence}" for check in result.checks),
        "",
        *(f"  note: {note}" for note in source.notes),
        _coverage_line(coverage(source.with_images)),
        "",
        "  camera  azimuth  elevation  tier       distance m  axis misses mm  images",
    ]
    for position in sorted(result.positions, key=lambda position: position.azimuth):
        has_images = "yes" if position.id in source.with_images else "-"
        lines.append(
            f"  {position.id:<6}  {position.azimuth:+7.1f}  {position.elevation:+9.1f}  {position.tier:<9}  "
            f"{position.distance:10.3f}  {position.miss_mm:14.0f}  {has_images}"
        )
    return "\n".join([*lines, "  azimuth 0 is at the face, + to the subject's left; degrees"])


def _coverage_line(covered: Coverage) -> str:
    tiers = ", ".join(f"{count} {tier}" for tier, count in covered.tiers.items()) or "none"
    return (
        f"  cameras with images: largest azimuth gap {covered.gap:.1f} degrees, worst direction {covered.worst:.1f} "
        f"degrees from a camera (mean {covered.mean:.1f}); {tiers}"
    )


def analysis_json(source: CalibrationSource, result: CalibrationResult) -> str:
    """Return the same as one JSON object."""
    covered = coverage(source.with_images)
    value = {
        "name": source.name,
        "state": result.state.value,
        "reading": str(result.convention),
        "image_size": None if source.size is None else {"height": source.size[0], "width": source.size[1]},
        "head": None if result.head is None else [round(value, 6) for value in result.head],
        "checks": [check.as_json() for check in result.checks],
        "with_images": list(source.with_images),
        "coverage": {"gap": covered.gap, "worst": covered.worst, "mean": covered.mean, "tiers": covered.tiers},
        "cameras": {
            position.id: {
                "azimuth": _rounded(position.azimuth),
                "elevation": _rounded(position.elevation),
                "tier": position.tier,
                "distance": _rounded(position.distance),
                "miss_mm": _rounded(position.miss_mm),
            }
            for position in result.positions
        },
        "notes": list(source.notes),
    }
    return json.dumps(value, indent=1, ensure_ascii=False)


def _rounded(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def write_plots(source: CalibrationSource, result: CalibrationResult, folder: Path) -> tuple[Path, Path]:
    """Write rig.svg and coverage.svg and return their paths; raise Fault if they cannot be written."""
    directions = {position.id: (position.azimuth, position.elevation) for position in result.positions}
    rig, covered = folder / "rig.svg", folder / "coverage.svg"
    write_output_file(rig, rig_views(source.name, result, source.with_images).encode(errors="backslashreplace"))
    covered_text = coverage_map(source.name, source.with_images, source.available, directions or None)
    write_output_file(covered, covered_text.encode(errors="backslashreplace"))
    return rig, covered
