"""The record of an export, `.rm360_export.json`: what it is, from what it was made, what its check measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rm360_async import __version__
from rm360_async.export.export_list import FileTotals
from rm360_async.export.format import NOTICE, Figures, Format, Unit, Written
from rm360_async.export.options import ExportOptions
from rm360_async.store.file_list import EXPORT_RECORD
from rm360_async.system.hashing import hash_of

SCHEMA = 1


@dataclass(frozen=True)
class SourceState:
    """What a unit was made from; `sources` are the .smc files of the published folder.

    `calibration`, `views` and `pictures` are hashes: of cameras.json, of the list of pictures (camera, frame), and of
    size and time of the first picture of each camera, which change when the folder is replaced, and do not when
    cameras are added to it.
    """

    subject: str
    performance: str
    folder: str
    sources: list[dict[str, Any]]
    fps: float | None
    calibration: str
    views: str
    pictures: str


@dataclass(frozen=True)
class ExportRecord:
    """One exported unit; `files` and `bytes` are its own, `links` share the published ones."""

    format: str
    format_version: int
    options: dict[str, Any]
    source: SourceState
    cameras: list[str]
    frames: list[int]
    views: int
    files: int
    bytes: int
    links: int
    figures: Figures
    notes: list[str]
    notice: str = NOTICE
    made_by: str = f"rm360_async {__version__}"
    exported: str = ""
    schema: int = SCHEMA
    seconds: float = field(default=0.0)

    def to_json(self) -> str:
        """Return the text of the file."""
        return json.dumps(asdict(self), indent=1) + "\n"


def source_state(unit: Unit) -> SourceState:
    """Return what a unit is made from, as its source is now."""
    performance = unit.performance
    calibration = (performance.folder / "calibration" / "cameras.json").read_bytes()
    sources = performance.record.sources if performance.record is not None else ()
    return SourceState(
        performance.subject,
        performance.performance,
        str(performance.folder),
        [{"path": source.path, "size": source.size, "md5": source.md5} for source in sources],
        performance.fps,
        hash_of(calibration).hex(),
        hash_of(json.dumps(unit.views).encode()).hex(),
        hash_of(json.dumps(_first_pictures(unit)).encode()).hex(),
    )


def _first_pictures(unit: Unit) -> list[tuple[str, int, int, int]]:
    """Return camera, frame, bytes and time of the first picture of each camera."""
    first = {camera: frame for camera, frame in reversed(unit.views)}
    states = ((camera, frame, unit.performance.image_path(camera, frame).stat()) for camera, frame in first.items())
    return sorted((camera, frame, state.st_size, state.st_mtime_ns) for camera, frame, state in states)


def make_record(
    unit: Unit, fmt: Format, written: Written, figures: Figures, totals: FileTotals, seconds: float
) -> ExportRecord:
    """Return the record of a unit that passed its check."""
    return ExportRecord(
        fmt.name,
        fmt.version,
        unit.options.to_json(),
        source_state(unit),
        list(unit.cameras),
        list(unit.frames),
        written.views,
        totals.files,
        totals.bytes,
        totals.links,
        dict(figures),
        written.notes,
        exported=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        seconds=round(seconds, 3),
    )


def read_record(folder: Path) -> ExportRecord | None:
    """Return the record of an export; None if the folder has none that this version can read."""
    try:
        value: Any = json.loads((folder / EXPORT_RECORD).read_text(encoding="utf-8"))
        if value["schema"] != SCHEMA:
            return None
        source = SourceState(**value.pop("source"))
        return ExportRecord(source=source, **value)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def source_differences(then: SourceState, now: SourceState) -> list[str]:
    """Return what of a source has changed since, as sentences."""
    sentences: Mapping[str, str] = {
        "sources": "the published folder was made from other files",
        "calibration": "the calibration has changed",
        "fps": "the frame rate has changed",
        "views": "other pictures are there now",
        "pictures": "the published folder was replaced",
    }
    names = [each.name for each in fields(SourceState)]
    return [sentences[name] for name in names if name in sentences and getattr(then, name) != getattr(now, name)]


def recorded_options(record: ExportRecord) -> ExportOptions:
    """Return the options that an export was made with."""
    return ExportOptions.from_json(record.options)
