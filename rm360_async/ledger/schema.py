"""The ledger's tables in SQL, and the statements that bring an earlier version of them to this one."""

from __future__ import annotations

import sqlite3

APPLICATION_ID = 0x524D3336  # "RM36"
VERSION = 4
"""The version of TABLES. It rises with every change, and MIGRATIONS gets the statements from the one before.

Columns keep their names, because people read them.
"""
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
    fps REAL,
    audio_seconds REAL,
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
    refused REAL,
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

MIGRATIONS: dict[int, tuple[str, ...]] = {
    1: (  # rm360 0.2.0
        "UPDATE meta SET key = 'imported' WHERE key = 'taken_in'",
    ),
    2: (  # when a quota was found used up: a shorter processing.quota_wait_hours counts from then
        "ALTER TABLE quota ADD COLUMN refused REAL",
    ),
    3: (  # columns of MANIFEST.csv
        "ALTER TABLE performance ADD COLUMN fps REAL",
        "ALTER TABLE performance ADD COLUMN audio_seconds REAL",
    ),
}
"""The statements that bring a ledger of each version to the next version."""


def statements_from(version: int) -> list[str]:
    """Return the statements that bring a ledger of an earlier version to VERSION, inside a transaction."""
    steps = [statement for number in range(version, VERSION) for statement in MIGRATIONS[number]]
    return [*steps, f"PRAGMA user_version = {VERSION}"]
