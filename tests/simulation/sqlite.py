"""SQLite on the loop's own thread, behind the ledger's port: aiosqlite would answer from a thread of its own."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any


class _Closed:
    async def close(self) -> None:
        return


class InlineConnection:
    """A connection of one simulated process; `require_alive` raises once that process was killed."""

    def __init__(self, path: Path, require_alive: Callable[[], None]) -> None:
        self._sqlite = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._require_alive = require_alive
        self._open = True
        for pragma in ("journal_mode = MEMORY", "synchronous = OFF", "foreign_keys = ON"):
            self._sqlite.execute(f"PRAGMA {pragma}")

    @property
    def in_transaction(self) -> bool:
        return self._open and self._sqlite.in_transaction

    async def execute_fetchall(self, sql: str, parameters: Iterable[Any] = (), /) -> Iterable[Any]:
        self._require_alive()
        return self._sqlite.execute(sql, tuple(parameters)).fetchall()

    async def execute_insert(self, sql: str, parameters: Iterable[Any] = (), /) -> Any:
        self._require_alive()
        return (self._sqlite.execute(sql, tuple(parameters)).lastrowid,)

    async def executemany(self, sql: str, parameters: Iterable[Iterable[Any]], /) -> Any:
        self._require_alive()
        self._sqlite.executemany(sql, [tuple(row) for row in parameters])
        return _Closed()

    def close(self) -> None:
        """Close it; a transaction that is open is rolled back, as the next reader of a killed process' file does."""
        self._open = False
        self._sqlite.close()
