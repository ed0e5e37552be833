"""Checks of a ledger's file: that rm360 wrote it, in which version, and that its content can be read."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import is_performance, is_subject
from rm360_async.domain.stage import Stage
from rm360_async.ledger.errors import damaged
from rm360_async.ledger.ledger_file import open_file
from rm360_async.ledger.schema import APPLICATION_ID, VERSION

_STAGES = frozenset(stage.value for stage in Stage)
_LATEST_TIME = 32_503_680_000.0
"""Unix seconds of the year 3000: a time that no clock has shown."""


def check_file(path: Path) -> int:
    """Return the schema version of the ledger at `path`, at most VERSION, after checking the whole file.

    Raises Fault(LEDGER) for a foreign, damaged or newer file, and sqlite3.Error, whose meaning `ledger_faults` knows.
    """
    with closing(open_file(path)) as connection:
        version = read_version(connection, path)
        check_content(connection, path)
        return version


def read_version(connection: sqlite3.Connection, path: Path) -> int:
    """Return the schema version; Fault(LEDGER) for a foreign file, or one of a newer version."""
    if _value(connection, "PRAGMA application_id") != APPLICATION_ID:
        raise damaged(path)
    version = int(_value(connection, "PRAGMA user_version"))
    if version > VERSION:
        message = f"the ledger {path} was written by a newer rm360 (schema {version}, this one knows up to {VERSION})"
        raise Fault(Cause.LEDGER, message, "install the rm360 that wrote it, or the newest one")
    if version < 1:
        raise damaged(path)
    return version


def check_content(connection: sqlite3.Connection, path: Path) -> None:
    """Raise Fault(LEDGER) unless the file is whole and everything in it can be read."""
    # not quick_check, which does not compare an index with its table: 7 instead of 3 ms for 9,500 performances
    if _value(connection, "PRAGMA integrity_check(1)") != "ok":
        raise damaged(path)
    connection.execute("SELECT sql FROM sqlite_master").fetchall()  # raises for a schema that is not text
    # It accepts a last page that is cut off, which it reads as zeros, and texts without a meaning.
    if path.stat().st_size % _value(connection, "PRAGMA page_size") or not _is_meaningful(connection):
        raise damaged(path)


def _is_meaningful(connection: sqlite3.Connection) -> bool:
    """Return True if every name, stage, time and JSON text can be read: SQLite keeps no checksums of its pages."""
    rows = connection.execute("SELECT subject, name, stage, updated, wait_until FROM performance")
    texts = connection.execute("SELECT seconds FROM attempt UNION SELECT progress FROM run")
    return all(
        is_subject(subject) and is_performance(name) and stage in _STAGES and 0 <= updated < _LATEST_TIME
        and (until is None or 0 <= until < _LATEST_TIME)
        for subject, name, stage, updated, until in rows
    ) and all(_is_json_object(text) for (text,) in texts)  # fmt: skip


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _value(connection: sqlite3.Connection, sql: str) -> Any:
    return connection.execute(sql).fetchone()[0]
