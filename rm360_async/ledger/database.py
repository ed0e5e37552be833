"""One SQLite connection with one lock: every transaction whole or not at all, whatever is cancelled.

Theory of operation. Several instances may write one ledger, and SQLite before 3.51.3 can corrupt a database
in WAL mode when two connections write and checkpoint (https://sqlite.org/wal.html), so the ledger
uses a rollback journal: PERSIST, as it was measured a little faster than TRUNCATE and DELETE (0.90, 0.95 and
1.00 ms for a commit of three statements with synchronous=FULL). A transaction that writes begins IMMEDIATE,
so it never has to upgrade a read lock. Each runs shielded from cancellation: two tasks on one connection
share one transaction, so leaving one open half-way would mix it with the next. An aiosqlite connection that
is never closed keeps its thread and the interpreter alive for ever, so `connect` always closes it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import aiosqlite
import anyio

from rm360_async.ledger import ledger_file
from rm360_async.ledger.check import check_file
from rm360_async.ledger.errors import ledger_faults
from rm360_async.ledger.retries import retry_while_locked
from rm360_async.ledger.schema import VERSION, statements_from
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.fault_points import reach

_PRAGMAS = ("journal_mode = PERSIST", "synchronous = FULL", "foreign_keys = ON", "journal_size_limit = 1048576")


class Connection(Protocol):
    """What the ledger needs of SQLite: aiosqlite, whose thread waits for the disk; a simulation has no threads."""

    @property
    def in_transaction(self) -> bool:
        """Return True between BEGIN and COMMIT or ROLLBACK."""

    def execute_fetchall(self, sql: str, parameters: Iterable[Any] = ..., /) -> Awaitable[Iterable[Any]]:
        """Execute one statement; return all rows."""

    def execute_insert(self, sql: str, parameters: Iterable[Any] = ..., /) -> Awaitable[Any]:
        """Execute one INSERT; return a row that holds the number of the new one."""

    def executemany(self, sql: str, parameters: Iterable[Iterable[Any]], /) -> Awaitable[Any]:
        """Execute one statement for each row of values; return a cursor that is to be closed."""


class Database:
    """An open ledger file; every statement runs inside `read` or `write`."""

    def __init__(self, connection: Connection, path: Path, *, needs_migration: bool = False) -> None:
        self._connection, self._path = connection, path
        self.needs_migration = needs_migration
        """The file has the schema of an earlier version; this is a migrated copy."""
        self._lock = anyio.Lock()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        """Run the block as one transaction that may write; rolled back if the block raises."""
        async with self._transaction("BEGIN IMMEDIATE") as transaction:
            yield transaction

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        """Run the block on one consistent state of the ledger."""
        async with self._transaction("BEGIN") as transaction:
            # A plain BEGIN takes no lock yet; take it here, where it is waited for.
            await self._execute("SELECT 1 FROM sqlite_master LIMIT 1")
            yield transaction

    @asynccontextmanager
    async def _transaction(self, begin: str) -> AsyncIterator[Transaction]:
        with anyio.CancelScope(shield=True), ledger_faults(self._path):
            async with self._lock:
                await self._execute(begin)
                try:
                    yield Transaction(self._connection)
                    await self._execute("COMMIT")
                except BaseException:
                    if self._connection.in_transaction:
                        await self._connection.execute_fetchall("ROLLBACK")
                    raise

    async def _execute(self, sql: str) -> None:
        await retry_while_locked(self._connection.execute_fetchall, sql)


class Transaction:
    """SQL inside a transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def fetch_all(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        return [tuple(row) for row in await self._connection.execute_fetchall(sql, values)]

    async def fetch_one(self, sql: str, *values: Any) -> tuple[Any, ...] | None:
        """Return the first row of a query, None if it has none."""
        return next(iter(await self.fetch_all(sql, *values)), None)

    async def execute(self, sql: str, *values: Any) -> None:
        """Carry out one statement."""
        reach("ledger statement")
        await self._connection.execute_fetchall(sql, values)

    async def insert(self, sql: str, *values: Any) -> int:
        """Carry out one INSERT and return the new row's number."""
        row = await self._connection.execute_insert(sql, values)
        assert row is not None
        return int(row[0])

    async def execute_many(self, sql: str, rows: Iterable[tuple[Any, ...]]) -> None:
        """Carry out one statement for each row of values."""
        await (await self._connection.executemany(sql, rows)).close()


@asynccontextmanager
async def connect(path: Path, *, read_only: bool = False) -> AsyncIterator[Database]:
    """Open an existing ledger file after checking it, and close it in every case.

    With `read_only`, nothing can be written, and of a ledger of an earlier version a migrated copy in memory is opened.
    Raises Fault(LEDGER) for a foreign, damaged or newer file, Fault(NOT_WRITABLE) if it cannot be opened.
    """
    with anyio.CancelScope(shield=True):
        # Where aiosqlite cannot connect, its thread lives on and may report to a loop that is closed by then.
        uri, timeout = ledger_file.file_uri(path), ledger_file.BUSY_SECONDS
        with ledger_faults(path):
            version = await retry_while_locked(on_disk_thread, check_file, path)
            connection = await aiosqlite.connect(uri, uri=True, isolation_level=None, timeout=timeout)
    try:
        with ledger_faults(path), anyio.CancelScope(shield=True):
            if read_only and version != VERSION:
                connection = await _migrated_in_memory(connection, version)
            for pragma in (*_PRAGMAS, f"query_only = {int(read_only)}"):
                await retry_while_locked(connection.execute_fetchall, f"PRAGMA {pragma}")
        yield Database(connection, path, needs_migration=version != VERSION)
    finally:
        with anyio.CancelScope(shield=True):
            await connection.close()


async def _migrated_in_memory(source: aiosqlite.Connection, version: int) -> aiosqlite.Connection:
    """Close a connection to a ledger of an earlier version; return one to its migrated copy in memory."""
    copy = await aiosqlite.connect(":memory:", isolation_level=None)
    try:
        await source.backup(copy)
        for statement in statements_from(version):
            await copy.execute_fetchall(statement)
    except BaseException:
        await copy.close()
        raise
    await source.close()
    return copy
