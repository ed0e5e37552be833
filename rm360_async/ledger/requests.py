"""What a person asked for: failed performances tried again, waits ended, published ones extracted again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from rm360_async.domain.names import Performance
from rm360_async.domain.stage import ENDED, FAILURES, Stage
from rm360_async.ledger.database import Database, Transaction
from rm360_async.ledger.rows import reset_to_pending, select_row

_COUNT_KEY = "requests"
"""Key of the ledger's metadata: how often a person put performances back to pending."""


class Requests:
    """Changes of rows that a person asked for; `ledger.requests`."""

    def __init__(self, database: Database, now: Callable[[], float]) -> None:
        self._database, self._now = database, now

    async def retry(
        self, selection: Collection[Performance] | None = None, *, waiting: bool = False
    ) -> list[Performance]:
        """Put failed performances (of the selection) back to pending with all their tries; return which.

        With `waiting` it is those that wait instead: their waits end, and every account is asked again for their
        files. A run that is active takes them up by itself, see `count`.
        """
        stages = [Stage.WAITING] if waiting else list(FAILURES)
        async with self._database.write() as sql:
            marks = ", ".join("?" * len(stages))
            rows = await sql.fetch_all(f"SELECT id, subject, name FROM performance WHERE stage IN ({marks})", *stages)
            numbers = {Performance(subject, name): number for number, subject, name in rows}
            chosen = [performance for performance in numbers if selection is None or performance in selection]
            await self._requeue(sql, [numbers[performance] for performance in chosen])
            if waiting:
                await _forget_quotas(sql, [numbers[performance] for performance in chosen])
        return sorted(chosen, key=lambda performance: performance.sort_key)

    async def force(self, performances: Iterable[Performance]) -> None:
        """Mark performances to be extracted again though they are published; ended and waiting ones become pending.

        Every account is asked again for those that waited. One that is being processed keeps its stage; the counts
        stay, as its folder does.
        """
        async with self._database.write() as sql:
            rows = [await select_row(sql, performance) for performance in performances]
            await sql.execute_many("UPDATE performance SET forced=1 WHERE id=?", [(number,) for number, _ in rows])
            waiting = [number for number, row in rows if row.stage is Stage.WAITING]
            await self._requeue(sql, waiting + [number for number, row in rows if row.stage in ENDED])
            await _forget_quotas(sql, waiting)

    async def count(self) -> int:
        """Return how often performances were put back so far: an active run notices by it that there are some."""
        async with self._database.read() as sql:
            row = await sql.fetch_one("SELECT value FROM meta WHERE key = ?", _COUNT_KEY)
        return 0 if row is None else int(row[0])

    async def _requeue(self, sql: Transaction, numbers: Sequence[int]) -> None:
        await reset_to_pending(sql, numbers, self._now())
        query = "INSERT INTO meta VALUES (?, '1') ON CONFLICT DO UPDATE SET value = value + 1"
        await sql.execute(query, _COUNT_KEY)

    async def unforce(self, performances: Iterable[Performance]) -> None:
        """Remove the mark of `force`; the stage stays."""
        values = [(each.subject, each.name) for each in performances]
        async with self._database.write() as sql:
            await sql.execute_many("UPDATE performance SET forced=0 WHERE subject=? AND name=?", values)


async def _forget_quotas(sql: Transaction, numbers: Sequence[int]) -> None:
    """Forget which quotas of the performances' files are used up, so that every account is asked again."""
    query = "DELETE FROM quota WHERE path IN (SELECT path FROM source WHERE performance = ?)"
    await sql.execute_many(query, [(number,) for number in numbers])
