"""The running and ended instances of the service, and the progress that each has left for `status`."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

from rm360_async.ledger.attempts import record_fetched
from rm360_async.ledger.claims import RUNS, Claims
from rm360_async.ledger.database import Database, Transaction
from rm360_async.ledger.values import Run
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.fault_points import reach

MAX_RUNS = 200
"""Runs that are kept, besides those that an attempt belongs to."""
_REMOVED_AT_ONCE = 20
"""Each costs a pass over the attempts, which may refer to it."""
_COLUMNS = "id, pid, host, config, started, ended, progress, progress_at"


class Runs:
    """The runs on one ledger; `ledger.runs`."""

    def __init__(self, database: Database, now: Callable[[], float]) -> None:
        self._database, self._now = database, now

    async def begin(self, config: str, claims: Claims) -> int:
        """Enter this process as a running instance and claim its run number; return that number."""
        async with self._database.write() as sql:
            query = "INSERT INTO run (pid, host, config, started) VALUES (?, ?, ?, ?)"
            number = await sql.insert(query, os.getpid(), socket.gethostname(), config, self._now())
            await self._remove_oldest(sql, number, claims)
        await on_disk_thread(claims.claim, RUNS + number)
        reach("run recorded")
        return number

    async def _remove_oldest(self, sql: Transaction, newest: int, claims: Claims) -> None:
        """Remove some of the runs before the latest MAX_RUNS, unless one is alive or an attempt belongs to it."""
        query = (
            "SELECT id FROM run WHERE id <= ? AND id NOT IN (SELECT run FROM attempt WHERE run IS NOT NULL)"
            " ORDER BY id LIMIT ?"
        )
        numbers = [number for (number,) in await sql.fetch_all(query, newest - MAX_RUNS, _REMOVED_AT_ONCE)]
        dead = [(number,) for number in numbers if not await on_disk_thread(claims.is_claimed, RUNS + number)]
        await sql.execute_many("DELETE FROM run WHERE id = ?", dead)

    async def end(self, number: int, claims: Claims) -> None:
        """Record that a run has ended, and release its claim."""
        async with self._database.write() as sql:
            await sql.execute("UPDATE run SET ended = ? WHERE id = ?", self._now(), number)
        reach("end of run recorded")
        await on_disk_thread(claims.release, RUNS + number)

    async def record_progress(self, number: int, snapshot: Mapping[str, Any], fetched: Mapping[str, int]) -> None:
        """Store the latest snapshot (JSON values) of a run, for `status` to read.

        `fetched`: the bytes that the open attempts have downloaded, by performance as text.
        """
        async with self._database.write() as sql:
            query = "UPDATE run SET progress = ?, progress_at = ? WHERE id = ?"
            await sql.execute(query, json.dumps(snapshot), self._now(), number)
            await record_fetched(sql, fetched)

    async def all(self) -> list[Run]:
        """Return all runs, the oldest first."""
        async with self._database.read() as sql:
            rows = await sql.fetch_all(f"SELECT {_COLUMNS} FROM run ORDER BY id")
        return [
            Run(number, pid, host, config, started, ended, json.loads(progress), at)
            for number, pid, host, config, started, ended, progress, at in rows
        ]

    async def running(self, claims: Claims) -> list[Run]:
        """Return the runs whose process is alive: their claims decide, not what the table holds."""
        open_runs = [run for run in await self.all() if run.ended is None]
        claimed = await on_disk_thread(claims.claimed_among, [RUNS + run.number for run in open_runs])
        return [run for run in open_runs if RUNS + run.number in claimed]
