"""The marker `.extraction_complete`: what a published folder holds, and from which source files."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

from rm360_async.domain.errors import Cause
from rm360_async.domain.record import SCHEMA, EarlierRecord, LeftOut, Record, SourceFile
from rm360_async.system.os_errors import os_errors

MARKER = ".extraction_complete"
DAMAGED = ".extraction_damaged"
"""Replaces the marker in a folder that is to be extracted again."""
_MAX_CHARS = 2**28
"""A marker that names every image of a performance as broken has some ten million."""
_FILE_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
"""Never waits for the other end of a pipe, and follows no link."""


def parse_marker(text: str) -> Record | EarlierRecord:
    """Return the record in a marker's text; an EarlierRecord if it does not have this schema."""
    try:
        value: Any = json.loads(text)
        if not isinstance(value, dict) or value.get("schema") != SCHEMA:
            return EarlierRecord(text)
        value["sources"] = tuple(SourceFile(**source) for source in value["sources"])
        value["left_out"] = tuple(LeftOut(**item) for item in value["left_out"])
        for key in ("wanted_modalities", "modalities", "absent", "resolved_cameras", "camera_pool"):
            value[key] = tuple(value.get(key, ()))
        if not isinstance(value["wanted_cameras"], str):
            value["wanted_cameras"] = tuple(value["wanted_cameras"])
        return Record(**value)
    except (ValueError, KeyError, TypeError):
        return EarlierRecord(text)


def read_marker(folder: Path) -> Record | EarlierRecord | None:
    """Return what the folder's marker says, or None without a marker. Raises OSError.

    Anything else in its place (a link, a pipe, a folder) is an EarlierRecord, and is not read.
    """
    try:
        descriptor = os.open(folder / MARKER, _FILE_FLAGS)
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
            return parse_marker(file.read(_MAX_CHARS))
    finally:
        os.close(descriptor)


def read_record(final: Path) -> Record | EarlierRecord | None:
    """Return what a folder's marker says; Fault(IN_THE_WAY) if it cannot be read, so that no run replaces it."""
    with os_errors("read", final, "check its owner, mode and disk, then `retry`", Cause.IN_THE_WAY):
        return read_marker(final)
