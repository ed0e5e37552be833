"""What a published folder claims: the marker `.extraction_complete` and the list of its files.

The marker is written last, so a folder that has one under its final name is whole. It is small (one read
per performance when a run starts); the names and sizes of all files stand beside it in
`.extraction_files.csv`, which only checks read.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

MARKER = ".extraction_complete"
FILE_LIST = ".extraction_files.csv"
SCHEMA = 1


@dataclass(frozen=True)
class SourceFile:
    """One source .smc: path below the remote's root (or a local path), size in bytes, md5 where known."""

    path: str
    size: int
    md5: str | None = None
    modified: str | None = None


@dataclass(frozen=True)
class LeftOut:
    """One stored blob that was not published because it is broken in the source."""

    modality: str
    camera: str
    frame: int | None
    reason: str

    def __str__(self) -> str:
        where = [self.modality, f"cam_{self.camera}" if self.camera else ""]
        where.append("" if self.frame is None else f"frame {self.frame}")
        return f"{' '.join(part for part in where if part)}: {self.reason}"


@dataclass(frozen=True)
class Record:
    """What one published folder holds; `cameras` maps a camera to its number of images written."""

    subject: str
    performance: str
    version: str
    published: str
    sources: tuple[SourceFile, ...]
    wanted_cameras: str | tuple[str, ...]
    wanted_modalities: tuple[str, ...]
    modalities: tuple[str, ...]
    absent: tuple[str, ...]
    cameras: dict[str, int]
    frames: int
    fps: float | None
    left_out: tuple[LeftOut, ...]
    files: int
    bytes: int
    fetched: str = "whole"
    schema: int = SCHEMA
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def cameras_extracted(self) -> int:
        """Return how many cameras have images in the folder."""
        return sum(1 for frames in self.cameras.values() if frames)

    def to_json(self) -> str:
        """Return the marker's text."""
        return json.dumps(asdict(self), indent=1) + "\n"


@dataclass(frozen=True)
class EarlierRecord:
    """A marker that another version or the earlier tool wrote: recognised, and left alone."""

    text: str


def parse_marker(text: str) -> Record | EarlierRecord:
    """Return the record in a marker's text; an EarlierRecord when it is not of this schema."""
    try:
        value: Any = json.loads(text)
        if not isinstance(value, dict) or value.get("schema") != SCHEMA:
            return EarlierRecord(text)
        value["sources"] = tuple(SourceFile(**source) for source in value["sources"])
        value["left_out"] = tuple(LeftOut(**item) for item in value["left_out"])
        for key in ("wanted_modalities", "modalities", "absent"):
            value[key] = tuple(value[key])
        if not isinstance(value["wanted_cameras"], str):
            value["wanted_cameras"] = tuple(value["wanted_cameras"])
        return Record(**value)
    except (ValueError, KeyError, TypeError):
        return EarlierRecord(text)


def read_marker(folder: Path) -> Record | EarlierRecord | None:
    """Return what the folder's marker says, or None when there is no marker."""
    try:
        text = (folder / MARKER).read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    return parse_marker(text)


def read_file_list(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield (path below the folder, size in bytes) of every file that the folder was published with."""
    with (folder / FILE_LIST).open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            yield row["path"], int(row["bytes"])
