"""The ledger's smaller books: quota waits, what was learned for the disk budget, remarks, and runs."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from rm360_async.domain.state import is_due
from rm360_async.ledger.claims import RUNS, Claims
from rm360_async.ledger.database import Connection
from rm360_async.ledger.values import Run
from rm360_async.system.fault_points import reach

_FORGET = 0.1
"""How fast a learned ratio comes down to a lower observation; it goes up at once."""


class Notes:
    """Books that are not about one performance's stage; part of the Ledger."""

    def __init__(self, connection: Connection, now: Callable[[], float] = time.time) -> None:
        self._connection = connection
        self._now = now

    async def quota(self, remote: str, path: str) -> float | None:
        """Return until when (unix seconds) this remote refuses this file, None when it does not."""
        async with self._connection.reading() as sql:
            row = await sql.one("SELECT until FROM quota WHERE remote = ? AND path = ?", remote, path)
        return None if row is None or is_due(row[0], self._now()) else float(row[0])

    async def note_quota(self, remote: str, path: str, until: float) -> None:
        """Note until when (unix seconds) this remote refuses this file; what is over is forgotten."""
        async with self._connection.writing() as sql:
            await sql.run("DELETE FROM quota WHERE until <= ?", self._now())
            await sql.run("INSERT OR REPLACE INTO quota VALUES (?, ?, ?)", remote, path, until)

    async def learned(self) -> dict[str, float]:
        """Return the output bytes to expect per input byte, by what was learned: a kind of performance, a share."""
        async with self._connection.reading() as sql:
            return {kind: float(ratio) for kind, ratio in await sql.all("SELECT kind, ratio FROM learned")}

    async def learn(self, kind: str, *, input_bytes: int, output_bytes: int) -> None:
        """Note what one performance of a kind became; the ratio rises at once and comes down slowly.

        Too high costs a little parallelism, too low fills the disk.
        """
        if input_bytes <= 0:
            return
        ratio = output_bytes / input_bytes
        async with self._connection.writing() as sql:
            row = await sql.one("SELECT ratio FROM learned WHERE kind = ?", kind)
            if row is not None:
                ratio = max(ratio, row[0] + _FORGET * (ratio - row[0]))
            query = (
                "INSERT INTO learned VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET ratio = excluded.ratio, seen = seen + 1"
            )
            await sql.run(query, kind, ratio)
        reach("ratio recorded")

    async def recall(self, key: str) -> str | None:
        """Return a remark of an earlier time, None when there is none."""
        async with self._connection.reading() as sql:
            row = await sql.one("SELECT value FROM meta WHERE key = ?", key)
        return None if row is None else str(row[0])

    async def remember(self, key: str, value: str) -> None:
        """Keep a remark under a key."""
        async with self._connection.writing() as sql:
            await sql.run("INSERT OR REPLACE INTO meta VALUES (?, ?)", key, value)

    async def begin_run(self, config: str, claims: Claims) -> int:
        """Enter this process as a running instance, claimed as alive; return its run number."""
        async with self._connection.writing() as sql:
            query = "INSERT INTO run (pid, host, config, started) VALUES (?, ?, ?, ?)"
            number = await sql.add(query, os.getpid(), socket.gethostname(), config, self._now())
            claims.claim(RUNS + number)
        reach("run recorded")
        return number

    async def end_run(self, number: int, claims: Claims) -> None:
        """Note that a run has ended, and give its claim back."""
        async with self._connection.writing() as sql:
            await sql.run("UPDATE run SET ended = ? WHERE id = ?", self._now(), number)
        reach("end of run recorded")
        claims.release(RUNS + number)

    async def note_progress(self, number: int, snapshot: Mapping[str, Any]) -> None:
        """Leave the snapshot (JSON values) of a run for `status` to read."""
        async with self._connection.writing() as sql:
            query = "UPDATE run SET progress = ?, progress_at = ? WHERE id = ?"
            await sql.run(query, json.dumps(snapshot), self._now(), number)

    async def runs(self) -> list[Run]:
        """Return all runs, the oldest first."""
        columns = "id, pid, host, config, started, ended, progress, progress_at"
        async with self._connection.reading() as sql:
            rows = await sql.all(f"SELECT {columns} FROM run ORDER BY id")
        return [
            Run(number, pid, host, config, started, ended, json.loads(progress), at)
            for number, pid, host, config, started, ended, progress, at in rows
        ]

    async def running(self, claims: Claims) -> list[Run]:
        """Return the runs whose process is alive: their claims say so, whatever the table holds."""
        return [run for run in await self.runs() if run.ended is None and claims.held_by_anyone(RUNS + run.number)]
