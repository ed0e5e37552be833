"""Wait for a ledger that another process keeps locked, when it is opened as in every transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

LOCK_SECONDS = 120.0
"""For how long a lock is waited for: another instance may be in an fsync of a busy disk."""
_PAUSE_SECONDS = 0.05
Result = TypeVar("Result")


async def retry_while_locked(function: Callable[..., Awaitable[Result]], *arguments: object) -> Result:
    """Return what the function returns; while the ledger is locked, it is called again.

    SQLite itself waits for `BUSY_SECONDS` at most, and not at all where it fears a deadlock. Raises what the function
    raises, its sqlite3.OperationalError too once LOCK_SECONDS are over.
    """
    until = anyio.current_time() + LOCK_SECONDS
    while True:
        try:
            return await function(*arguments)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or anyio.current_time() > until:
                raise
        await anyio.sleep(_PAUSE_SECONDS)
