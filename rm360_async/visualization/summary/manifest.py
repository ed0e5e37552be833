"""Read MANIFEST.csv: that of rm360, and that of the earlier tool, whose ids lost their zeros."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from rm360_async.domain.errors import BadRequest
from rm360_async.domain.names import is_subject
from rm360_async.visualization.report.run_data import PerformanceEntry

_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
REQUIRED_COLUMNS = ("subject", "performance", "status", "cameras_extracted", "frames", "size_gb")


def decode_manifest(content: bytes, path: Path) -> str:
    """Return the text of a manifest; raise BadRequest for another encoding than UTF-8, with or without its mark."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadRequest(
            f"{path} is not UTF-8 text (line {line}); a spreadsheet may have saved it: save it as `CSV UTF-8`, or write"
            f" it again with: rm360 export-manifest"
        ) from error


def read_manifest(text: str, path: Path) -> list[PerformanceEntry]:
    """Return the entries of a manifest's text; raise BadRequest, with the line, if it is not a manifest."""
    lines = csv.DictReader(io.StringIO(text))
    columns = lines.fieldnames or ()
    missing = [column for column in REQUIRED_COLUMNS if column not in columns]
    if missing:
        raise BadRequest(f"{path} is not a manifest: {_explain_columns(columns) or _no_columns(missing)}")
    entries = []
    try:
        for line in lines:
            if any(line.get(column) for column in REQUIRED_COLUMNS):  # spreadsheets add empty lines
                entries.append(_entry(line))
    except (ValueError, OverflowError, csv.Error) as error:
        raise BadRequest(f"{path}: line {lines.line_num} cannot be read: {error}") from error
    return entries


def _no_columns(missing: Sequence[str]) -> str:
    return f"it has no column {', '.join(missing)}"


def _explain_columns(columns: Sequence[str]) -> str:
    """Return that another separator is used, "" if none is."""
    for separator, name in _SEPARATORS.items():
        if any(set(REQUIRED_COLUMNS) <= set(column.split(separator)) for column in columns):
            return (
                f"its columns are separated by {name}, so a spreadsheet has saved it; save it with commas and decimal"
                " points, or write it again with: rm360 export-manifest"
            )
    return ""


def _entry(line: dict[str, str | None]) -> PerformanceEntry:
    values = {column: value or "" for column, value in line.items() if column is not None}
    subject = values["subject"].zfill(4)
    if not is_subject(subject):
        raise ValueError(
            f"{values['subject']!r} is not a subject id such as 0018; a spreadsheet changes ids to numbers"
        )
    return PerformanceEntry(
        subject,
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
    if "," in text:
        raise ValueError(f"{text!r} has a decimal comma; a manifest has points")
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
