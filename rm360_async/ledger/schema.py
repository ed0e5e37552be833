"""The ledger's file: where it lies, its tables, how it is made in one step, and how it is known to be ours.

A ledger is made under another name and renamed, so a file of no bytes or with a foreign header under the
final name is always damage, and it is refused and never replaced.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from rm360_async.domain.errors import Cause, Fault
from rm360_async.ledger.claims import CREATION, Claims
from rm360_async.system.os_errors import os_fault

APPLICATION_ID = 0x524D3336  # "RM36"
VERSION = 1
SQLITE_VERSION = sqlite3.sqlite_version_info
"""The version of SQLite that this Python has, as three numbers."""
_DAMAGE = ("malformed", "not a database", "Could not decode")
_STRICT = "STRICT" if sqlite3.sqlite_version_info >= (3, 37) else ""

TABLES = f"""
CREATE TABLE performance (
    id INTEGER PRIMARY KEY,
    subject TEXT NOT NULL,
    name TEXT NOT NULL,
    stage TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    cause TEXT,
    reason TEXT NOT NULL DEFAULT '',
    wait_until REAL,
    forced INTEGER NOT NULL DEFAULT 0,
    cameras_extracted INTEGER NOT NULL DEFAULT 0,
    frames INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    updated REAL NOT NULL,
    verdict TEXT NOT NULL DEFAULT '',
    UNIQUE (subject, name)
) {_STRICT};
CREATE TABLE source (
    performance INTEGER NOT NULL REFERENCES performance (id),
    place INTEGER NOT NULL,
    path TEXT NOT NULL,
    size INTEGER NOT NULL,
    md5 TEXT,
    modified TEXT,
    PRIMARY KEY (performance, place)
) {_STRICT};
CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    pid INTEGER NOT NULL,
    host TEXT NOT NULL,
    config TEXT NOT NULL,
    started REAL NOT NULL,
    ended REAL,
    progress TEXT NOT NULL DEFAULT '{{}}',
    progress_at REAL
) {_STRICT};
CREATE TABLE attempt (
    id INTEGER PRIMARY KEY,
    performance INTEGER NOT NULL REFERENCES performance (id),
    run INTEGER REFERENCES run (id),
    started REAL NOT NULL,
    ended REAL,
    outcome TEXT NOT NULL DEFAULT '',
    cause TEXT,
    reason TEXT NOT NULL DEFAULT '',
    seconds TEXT NOT NULL DEFAULT '{{}}',
    fetched INTEGER NOT NULL DEFAULT 0
) {_STRICT};
CREATE INDEX attempt_of ON attempt (performance);
CREATE INDEX attempt_open ON attempt (performance) WHERE ended IS NULL;
CREATE TABLE quota (
    remote TEXT NOT NULL,
    path TEXT NOT NULL,
    until REAL NOT NULL,
    PRIMARY KEY (remote, path)
) {_STRICT};
CREATE TABLE learned (
    kind TEXT PRIMARY KEY,
    ratio REAL NOT NULL,
    seen INTEGER NOT NULL
) {_STRICT};
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) {_STRICT};
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
"""


def ledger_path(manifest_path: Path) -> Path:
    """Return where the ledger of a manifest lies: beside it, with the suffix `.sqlite`."""
    return manifest_path.with_suffix(".sqlite")


def lock_path(ledger: Path) -> Path:
    """Return where the lock file of a ledger lies: beside it, with the suffix `.lock`."""
    return ledger.with_suffix(".lock")


def damaged(path: Path) -> Fault:
    """Return the fault of a file that cannot be used as a ledger."""
    hint = "nothing was changed; `rm360 doctor --rebuild` makes a new one from the published folders"
    return Fault(Cause.LEDGER, f"{path} is not a ledger of ours or damaged", hint)


def create(path: Path) -> None:
    """Make an empty ledger in one step unless there is one; safe with several processes at once.

    Raises Fault(NOT_WRITABLE) or Fault(DISK_FULL).
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path):
            return
        with Claims(lock_path(path)) as claims:
            claims.wait_for(CREATION)
            if not os.path.lexists(path):
                _make(path)
    except (OSError, sqlite3.Error) as error:
        raise as_fault(path, error) from error


def _make(path: Path) -> None:
    fresh = path.with_name(f".{path.name}.new")
    # A journal without its database would be played back into the new one.
    for leftover in (fresh, _journal(fresh), _journal(path)):
        leftover.unlink(missing_ok=True)
    connection = sqlite3.connect(fresh, isolation_level=None)
    try:
        connection.executescript(f"PRAGMA synchronous = FULL; BEGIN IMMEDIATE; {TABLES} COMMIT;")
    finally:
        connection.close()
    fresh.replace(path)
    sync_folder(path.parent)


def quarantine(path: Path) -> Path:
    """Rename a damaged ledger (and its journal) to `<name>.damaged` or the next free name, and return that.

    Raises Fault(LEDGER) while any instance is at work with it.
    """
    with Claims(lock_path(path)) as claims:
        if claims.others_at_work():
            raise Fault(Cause.LEDGER, f"the ledger {path} is in use", "end the running instances first")
        target = path.with_name(path.name + ".damaged")
        for count in range(2, 1000):
            if not os.path.lexists(target):
                break
            target = path.with_name(f"{path.name}.damaged-{count}")
        if _journal(path).exists():
            _journal(path).replace(_journal(target))
        path.replace(target)
        sync_folder(path.parent)
        return target


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _journal(path: Path) -> Path:
    return path.with_name(path.name + "-journal")


def as_fault(path: Path, error: OSError | sqlite3.Error) -> Fault:
    """Return what a failure of SQLite, or of the file system below it, means to a person.

    By its text: the extended codes are only there from Python 3.11 on.
    """
    hint = "check the path and its permissions"
    if isinstance(error, OSError):
        return os_fault(error, "write the ledger", path, hint, Cause.NOT_WRITABLE)
    text = str(error)
    if "disk is full" in text:
        return Fault(Cause.DISK_FULL, f"cannot write the ledger {path}: no space left on the disk", "free some space")
    if any(sign in text for sign in _DAMAGE) or "no such" in text:
        return damaged(path)
    if "readonly" in text or "unable to open" in text:
        return Fault(Cause.NOT_WRITABLE, f"cannot write the ledger {path}: {text}", hint)
    if "locked" in text:
        return Fault(Cause.LEDGER, f"another process keeps the ledger {path} locked", "end it, or look why it hangs")
    return Fault(Cause.LEDGER, f"the ledger {path} cannot be used: {text}", "look at the disk that it lies on")
