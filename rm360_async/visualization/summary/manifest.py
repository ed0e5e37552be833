"""Read MANIFEST.csv: that of rm360, and that of the earlier tool, whose ids lost their zeros."""

from __future__ import annotations

import csv
import io
import math
from datetime import datetime
from pathlib import Path

from rm360_async.domain.errors import BadRequest
from rm360_async.visualization.report.run_data import PerformanceEntry

REQUIRED_COLUMNS = ("subject", "performance", "status", "cameras_extracted", "frames", "size_gb")


def read_manifest(text: str, path: Path) -> list[PerformanceEntry]:
    """Return the entries of a manifest's text; raise BadRequest, with the line, if it is not a manifest."""
    lines = csv.DictReader(io.StringIO(text))
    missing = [column for column in REQUIRED_COLUMNS if column not in (lines.fieldnames or ())]
    if missing:
        raise BadRequest(f"{path} is not a manifest: it has no column {', '.join(missing)}")
    entries = []
    try:
        for line in lines:
            entries.append(_entry(line))
    except (ValueError, OverflowError, csv.Error) as error:
        raise BadRequest(f"{path}: line {lines.line_num} cannot be read: {error}") from error
    return entries


def _entry(line: dict[str, str | None]) -> PerformanceEntry:
    values = {column: value or "" for column, value in line.items() if column is not None}
    return PerformanceEntry(
        values["subject"].zfill(4),
        values["performance"],
        values["status"],
        int(_number(values["cameras_extracted"])),
        int(_number(values["frames"])),
        round(_number(values["size_gb"]) * 2**30),
        _timestamp(values.get("timestamp", "")),
        values.get("error", ""),
        values.get("verdict", ""),
    )


def _number(text: str) -> float:
    value = float(text or 0)
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{text!r} is not a size or count")
    return value


def _timestamp(text: str) -> float:
    """Return unix seconds, 0 if the text is not a time."""
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0
