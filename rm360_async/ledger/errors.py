"""What SQLite and the file system raise about the ledger's file, as a Fault for people."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rm360_async.domain.errors import Cause, Fault
from rm360_async.system.fault_points import reach
from rm360_async.system.os_errors import os_fault

_SIGNS_OF_DAMAGE = ("malformed", "not a database", "Could not decode", "cannot store")
"""The last one is an IntegrityError: the text of a default value in the schema has changed."""


def damaged(path: Path) -> Fault:
    """Return the fault of a file that cannot be used as a ledger."""
    hint = "nothing was changed; `rm360 doctor --rebuild` makes a new one from the published folders"
    return Fault(Cause.LEDGER, f"{path} is not a ledger of rm360, or it is damaged", hint)


@contextmanager
def ledger_faults(path: Path) -> Iterator[None]:
    """Turn what SQLite raises about its file into a Fault; errors of the SQL itself stay as they are."""
    try:
        yield
    except UnicodeDecodeError as error:  # SQLite quotes a damaged schema in its own message
        raise damaged(path) from error
    except sqlite3.DatabaseError as error:
        known = type(error) in (sqlite3.DatabaseError, sqlite3.OperationalError)
        if not known and "cannot store" not in str(error):
            raise
        reach("ledger failed")
        raise as_fault(path, error) from error


def as_fault(path: Path, error: OSError | sqlite3.Error) -> Fault:
    """Return what a failure of SQLite, or of the file system below it, means.

    By its text: the extended codes are only there from Python 3.11 on.
    """
    hint = "check the path and its permissions"
    if isinstance(error, OSError):
        return os_fault(error, "write the ledger", path, hint, Cause.NOT_WRITABLE)
    text = str(error)
    if "disk is full" in text:
        return Fault(Cause.DISK_FULL, f"cannot write the ledger {path}: no space left on the disk", "free some space")
    if any(sign in text for sign in _SIGNS_OF_DAMAGE) or "no such" in text:
        return damaged(path)
    if "readonly" in text or "unable to open" in text:
        return Fault(Cause.NOT_WRITABLE, f"cannot write the ledger {path}: {text}", hint)
    if "locked" in text:
        hint = "end that process, or find out why it hangs"
        return Fault(Cause.LEDGER, f"another process keeps the ledger {path} locked", hint)
    return Fault(Cause.LEDGER, f"the ledger {path} cannot be used: {text}", "check the disk that holds it")
