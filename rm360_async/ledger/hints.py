"""What the ledger remembers to plan better: quotas that are used up, output ratios, single values by key.

Losing any of it costs a repeated request or a less exact estimate, never a performance.
"""

from __future__ import annotations

from collections.abc import Callable

from rm360_async.domain.state import is_due
from rm360_async.ledger.database import Database
from rm360_async.system.fault_points import reach

_DECAY = 0.1
"""The share of the difference by which a ratio falls to a lower observation; a higher one replaces it at once."""


class Hints:
    """Values of the ledger that belong to no performance's stage; `ledger.hints`."""

    def __init__(self, database: Database, now: Callable[[], float]) -> None:
        self._database, self._now = database, now

    async def quota_until(self, remote: str, path: str) -> float | None:
        """Return until when (unix seconds) this remote refuses this file, None if it does not."""
        async with self._database.read() as sql:
            row = await sql.fetch_one("SELECT until FROM quota WHERE remote = ? AND path = ?", remote, path)
        return None if row is None or is_due(row[0], self._now()) else float(row[0])

    async def record_quota(self, remote: str, path: str, until: float) -> None:
        """Record until when (unix seconds) this remote refuses this file; expired records are removed."""
        async with self._database.write() as sql:
            now = self._now()
            await sql.execute("DELETE FROM quota WHERE until <= ?", now)
            query = "INSERT OR REPLACE INTO quota (remote, path, until, refused) VALUES (?, ?, ?, ?)"
            await sql.execute(query, remote, path, until, now)

    async def quotas(self) -> dict[tuple[str, str], float]:
        """Return until when (unix seconds) each remote refuses each file, of those that it refuses now."""
        async with self._database.read() as sql:
            rows = await sql.fetch_all("SELECT remote, path, until FROM quota")
        now = self._now()
        return {(remote, path): float(until) for remote, path, until in rows if not is_due(until, now)}

    async def shorten_quotas(self, seconds: float) -> None:
        """End every quota that lasts longer than `seconds` since it was found used up, which an older file lacks."""
        async with self._database.write() as sql:
            query = "UPDATE quota SET until = min(until, coalesce(refused, ?) + ?)"
            await sql.execute(query, self._now(), seconds)

    async def ratios(self) -> dict[str, float]:
        """Return the output bytes to expect for each input byte, by kind: of performance, or of a share of the file."""
        async with self._database.read() as sql:
            return {kind: float(ratio) for kind, ratio in await sql.fetch_all("SELECT kind, ratio FROM learned")}

    async def record_ratio(self, kind: str, *, input_bytes: int, output_bytes: int) -> None:
        """Record the output of one performance of a kind; its ratio rises at once and falls slowly.

        Too high costs a little parallelism, too low fills the disk.
        """
        if input_bytes <= 0:
            return
        ratio = output_bytes / input_bytes
        async with self._database.write() as sql:
            row = await sql.fetch_one("SELECT ratio FROM learned WHERE kind = ?", kind)
            if row is not None:
                ratio = max(ratio, row[0] + _DECAY * (ratio - row[0]))
            query = (
                "INSERT INTO learned VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET ratio = excluded.ratio, seen = seen + 1"
            )
            await sql.execute(query, kind, ratio)
        reach("ratio recorded")

    async def get_meta(self, key: str) -> str | None:
        """Return the value that was stored under a key, None if there is none."""
        async with self._database.read() as sql:
            row = await sql.fetch_one("SELECT value FROM meta WHERE key = ?", key)
        return None if row is None else str(row[0])

    async def set_meta(self, key: str, value: str) -> None:
        """Store a value under a key, in place of an earlier one."""
        async with self._database.write() as sql:
            await sql.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", key, value)
