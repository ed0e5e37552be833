"""The ledger's file: its path, how it is created in one step, and how a damaged one is renamed.

SQLite gives a journal the mode of its database, so all of a ledger's files follow the umask of the process that
created the ledger.

A ledger is created under another name and renamed, so a file of no bytes or with a foreign header under the
final name is always damage, and it is refused and never replaced.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from rm360_async.domain.errors import Cause, Fault
from rm360_async.ledger.claims import CREATION, Claims
from rm360_async.ledger.errors import as_fault
from rm360_async.ledger.schema import TABLES
from rm360_async.system.files import create_file, free_name, sync_folder

BUSY_SECONDS = 10.0
"""For how long SQLite waits for another process's lock before it raises."""
SQLITE_VERSION = sqlite3.sqlite_version_info
"""The version of SQLite that this Python has, as three numbers."""


def ledger_path(manifest_path: Path) -> Path:
    """Return the path of a manifest's ledger: beside it, with the suffix `.sqlite`."""
    return manifest_path.with_suffix(".sqlite")


def lock_path(ledger: Path) -> Path:
    """Return the path of a ledger's lock file: beside it, with the suffix `.lock`."""
    return ledger.with_suffix(".lock")


def file_uri(path: Path) -> str:
    """Return the URI with which SQLite opens an existing file to read and write, and never creates one."""
    return f"{path.absolute().as_uri()}?mode=rw"


def open_file(path: Path) -> sqlite3.Connection:
    """Open an existing ledger file without any check; transactions are begun and ended by statements."""
    return sqlite3.connect(file_uri(path), uri=True, isolation_level=None, timeout=BUSY_SECONDS)


def create(path: Path) -> None:
    """Create an empty ledger in one step unless there is a file; safe with several processes at once.

    Raises Fault(NOT_WRITABLE) or Fault(DISK_FULL).
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path):
            return
        with Claims(lock_path(path)) as claims:
            claims.wait_for(CREATION)
            if not os.path.lexists(path):
                _create(path)
    except (OSError, sqlite3.Error) as error:
        raise as_fault(path, error) from error


def _create(path: Path) -> None:
    fresh = path.with_name(f".{path.name}.new")
    remove_with_journal(fresh)
    _journal(path).unlink(missing_ok=True)
    create_file(fresh, b"")  # with the mode that the umask allows: SQLite's own 0644 shuts out the rest of a group
    with closing(sqlite3.connect(fresh, isolation_level=None)) as connection:
        connection.executescript(f"PRAGMA synchronous = FULL; BEGIN IMMEDIATE; {TABLES} COMMIT;")
    fresh.replace(path)
    sync_folder(path.parent)


def quarantine(path: Path) -> Path:
    """Rename a damaged ledger (and its journal) to `<name>.damaged` or the next free name, and return that.

    Raises Fault(LEDGER) while another process works with it.
    """
    with Claims(lock_path(path)) as claims:
        if claims.is_used_by_others():
            raise Fault(Cause.LEDGER, f"the ledger {path} is in use", "end the running instances first")
        target = free_name(path.with_name(f"{path.name}.damaged"))
        if _journal(path).exists():
            _journal(path).replace(_journal(target))
        path.replace(target)
        sync_folder(path.parent)
        return target


def remove_with_journal(path: Path) -> None:
    """Remove a SQLite file, if it is there, and its journal, which would be played back into the next one there."""
    for leftover in (path, _journal(path)):
        leftover.unlink(missing_ok=True)


def _journal(path: Path) -> Path:
    return path.with_name(path.name + "-journal")
