"""What a person asked for: failed performances tried again, published ones extracted again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from rm360_async.domain.names import Performance
from rm360_async.domain.stage import ENDED, FAILURES
from rm360_async.ledger.database import Database
from rm360_async.ledger.rows import reset_to_pending, select_row


class Requests:
    """Changes of rows that a person asked for; `ledger.requests`."""

    def __init__(self, database: Database, now: Callable[[], float]) -> None:
        self._database, self._now = database, now

    async def retry(self, selection: Collection[Performance] | None = None) -> list[Performance]:
        """Put failed performances (of the selection) back to pending with all their tries; return which."""
        async with self._database.write() as sql:
            rows = await sql.fetch_all("SELECT id, subject, name FROM performance WHERE stage IN (?, ?)", *FAILURES)
            failed = {Performance(subject, name): number for number, subject, name in rows}
            chosen = [performance for performance in failed if selection is None or performance in selection]
            await reset_to_pending(sql, [failed[performance] for performance in chosen], self._now())
        return sorted(chosen, key=lambda performance: performance.sort_key)

    async def force(self, performances: Iterable[Performance]) -> None:
        """Mark performances to be extracted again though they are published; ended ones become pending.

        A waiting one keeps waiting, one that is being processed keeps its stage; the counts stay, as its folder does.
        """
        async with self._database.write() as sql:
            rows = [await select_row(sql, performance) for performance in performances]
            await sql.execute_many("UPDATE performance SET forced=1 WHERE id=?", [(number,) for number, _ in rows])
            ended = [number for number, row in rows if row.stage in ENDED]
            await reset_to_pending(sql, ended, self._now())

    async def unforce(self, performances: Iterable[Performance]) -> None:
        """Remove the mark of `force`; the stage stays."""
        values = [(each.subject, each.name) for each in performances]
        async with self._database.write() as sql:
            await sql.execute_many("UPDATE performance SET forced=0 WHERE subject=? AND name=?", values)
