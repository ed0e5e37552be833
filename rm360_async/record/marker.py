"""The marker `.extraction_complete`: what a published folder holds, and from what it was made."""

from __future__ import annotations

import errno
import json
import os
import stat
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

MARKER = ".extraction_complete"
DAMAGED = ".extraction_damaged"
"""Stands in the place of the marker in a folder that is to be extracted again."""
SCHEMA = 1
_LONGEST = 2**28
"""Characters; a marker that names every picture of a performance as broken has some ten million."""
_ONLY_A_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
"""Never waits for the other end of a pipe."""


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
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes written of each modality."""
    verdict: str = ""
    """Complete, complete as released, or damaged and with what; "" in markers from before there were verdicts."""

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
    """Return what the folder's marker says, or None when there is no marker; raises OSError.

    Whatever else stands in its place (a link, a pipe, a folder) is no marker of ours, and is not looked into.
    """
    try:
        descriptor = os.open(folder / MARKER, _ONLY_A_FILE)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            return EarlierRecord("")
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return EarlierRecord("")
        with open(descriptor, encoding="utf-8", errors="replace", closefd=False) as file:
            return parse_marker(file.read(_LONGEST))
    finally:
        os.close(descriptor)
