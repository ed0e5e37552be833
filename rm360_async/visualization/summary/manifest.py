"""MANIFEST.csv to rows: ours, and those of the earlier tool, whose ids lost their zeros."""

from __future__ import annotations

import csv
import io
import math
from datetime import datetime
from pathlib import Path

from rm360_async.domain.errors import BadRequest
from rm360_async.visualization.report.run_data import PerformanceEntry

_NEEDED = ("subject", "performance", "status", "cameras_extracted", "frames", "size_gb")


def read_manifest(text: str, path: Path) -> list[PerformanceEntry]:
    """Return the rows of a manifest's text; BadRequest, naming the line, for what is none."""
    lines = csv.DictReader(io.StringIO(text))
    lacking = [column for column in _NEEDED if column not in (lines.fieldnames or ())]
    if lacking:
        raise BadRequest(f"{path} is no manifest: it has no column {', '.join(lacking)}")
    rows = []
    try:
        for line in lines:
            rows.append(_row(line))
    except (ValueError, OverflowError, csv.Error) as error:
        raise BadRequest(f"{path}: line {lines.line_num} cannot be read: {error}") from error
    return rows


def _row(line: dict[str, str | None]) -> PerformanceEntry:
    values = {key: value or "" for key, value in line.items() if key is not None}
    return PerformanceEntry(
        values["subject"].zfill(4),
        values["performance"],
        values["status"],
        _whole(values["cameras_extracted"]),
        _whole(values["frames"]),
        round(_number(values["size_gb"]) * 2**30),
        _moment(values.get("timestamp", "")),
        values.get("error", ""),
        values.get("verdict", ""),
    )


def _number(text: str) -> float:
    value = float(text or 0)
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{text!r} is no size or count")
    return value


def _whole(text: str) -> int:
    return int(_number(text))


def _moment(text: str) -> float:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0
