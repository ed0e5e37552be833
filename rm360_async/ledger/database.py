"""One SQLite connection with one lock: every transaction whole or not at all, whoever is cancelled.

Theory of operation. Several instances may write one ledger, and SQLite before 3.51.3 can corrupt a database
in WAL mode when two connections write and checkpoint (https://sqlite.org/wal.html), so the ledger
uses a rollback journal: PERSIST, as it was measured a little faster than TRUNCATE and DELETE (0.90, 0.95 and
1.00 ms for a commit of three statements with synchronous=FULL). A transaction that writes begins IMMEDIATE,
so it never has to upgrade a read lock. Each runs shielded from cancellation: two tasks on one connection
share one transaction, so leaving one open half-way would mix it with the next. An aiosqlite connection that
is never closed keeps its thread and the interpreter alive for ever, so `connect` always closes it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import aiosqlite
import anyio

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import is_performance, is_subject
from rm360_async.domain.stage import Stage
from rm360_async.ledger.schema import APPLICATION_ID, VERSION, as_fault, damaged
from rm360_async.system.fault_points import reach

BUSY_SECONDS = 10.0
_PATIENCE = 12
"""How many times BUSY_SECONDS we wait for a lock: another instance may sit in an fsync of a busy disk."""

_STAGES = frozenset(stage.value for stage in Stage)
_LATEST = 32_503_680_000.0
"""The year 3000: a time that no clock has shown."""
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

    def __init__(self, connection: Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._lock = anyio.Lock()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        """Run the block as one transaction that may write; rolled back when the block raises."""
        async with self._transaction("BEGIN IMMEDIATE") as transaction:
            yield transaction

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Transaction]:
        """Run the block on one consistent state of the ledger."""
        async with self._transaction("BEGIN") as transaction:
            # A plain BEGIN takes no lock yet; take it here, where it is waited for.
            await self._execute_patiently("SELECT 1 FROM sqlite_master LIMIT 1")
            yield transaction

    @asynccontextmanager
    async def _transaction(self, begin: str) -> AsyncIterator[Transaction]:
        with anyio.CancelScope(shield=True), faults_of(self._path):
            async with self._lock:
                await self._execute_patiently(begin)
                try:
                    yield Transaction(self._connection)
                    await self._execute_patiently("COMMIT")
                except BaseException:
                    if self._connection.in_transaction:
                        await self._connection.execute_fetchall("ROLLBACK")
                    raise

    async def _execute_patiently(self, sql: str) -> None:
        for _ in range(_PATIENCE - 1):
            try:
                await self._connection.execute_fetchall(sql)
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise
        await self._connection.execute_fetchall(sql)


class Transaction:
    """SQL inside a transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def fetch_all(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        return [tuple(row) for row in await self._connection.execute_fetchall(sql, values)]

    async def fetch_one(self, sql: str, *values: Any) -> tuple[Any, ...] | None:
        """Return the first row of a query, None when it has none."""
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
async def connect(path: Path) -> AsyncIterator[Database]:
    """Open a ledger file that is there, check that it is ours and sound, and close it in every case.

    Raises Fault(LEDGER) for a foreign, damaged or newer file, Fault(NOT_WRITABLE) when it cannot be opened.
    """
    with faults_of(path), anyio.CancelScope(shield=True):
        # Where aiosqlite cannot connect, its thread lives on and may report to a loop that is closed by then.
        await anyio.to_thread.run_sync(_can_open, path)
        connection = await aiosqlite.connect(_uri(path), uri=True, isolation_level=None, timeout=BUSY_SECONDS)
    try:
        with faults_of(path), anyio.CancelScope(shield=True):
            await _check(connection, path)
        yield Database(connection, path)
    finally:
        with anyio.CancelScope(shield=True):
            await connection.close()


def _can_open(path: Path) -> None:
    sqlite3.connect(_uri(path), uri=True).close()


def _uri(path: Path) -> str:
    return f"{path.absolute().as_uri()}?mode=rw"  # never makes a file


async def _check(database: aiosqlite.Connection, path: Path) -> None:
    if await _value(database, "PRAGMA application_id") != APPLICATION_ID:
        raise damaged(path)
    version = await _value(database, "PRAGMA user_version")
    if version != VERSION:
        message = f"the ledger {path} has version {version}, this program knows version {VERSION}"
        raise Fault(Cause.LEDGER, message, "use the rm360 that wrote it, or the newest one")
    # not quick_check, which does not compare an index with its table: 7 instead of 3 ms for 9,500 performances
    if await _value(database, "PRAGMA integrity_check(1)") != "ok":
        raise damaged(path)
    # it is content with a cut-off last page, which it reads as zeros, and with texts that mean nothing
    size = (await anyio.Path(path).stat()).st_size
    if size % await _value(database, "PRAGMA page_size") or not await _makes_sense(database):
        raise damaged(path)
    for pragma in _PRAGMAS:
        await database.execute_fetchall(f"PRAGMA {pragma}")


async def _makes_sense(database: aiosqlite.Connection) -> bool:
    """Tell whether every name, stage, time and JSON text can be read: SQLite keeps no checksums of its pages."""
    rows = await database.execute_fetchall("SELECT subject, name, stage, updated, wait_until FROM performance")
    texts = "SELECT seconds FROM attempt UNION SELECT progress FROM run"
    return all(
        is_subject(subject) and is_performance(name) and stage in _STAGES and 0 <= updated < _LATEST
        and (until is None or 0 <= until < _LATEST)
        for subject, name, stage, updated, until in rows
    ) and all(_is_json_object(text) for (text,) in await database.execute_fetchall(texts))  # fmt: skip


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


async def _value(database: aiosqlite.Connection, sql: str) -> Any:
    return next(iter(await database.execute_fetchall(sql)))[0]


@contextmanager
def faults_of(path: Path) -> Iterator[None]:
    """Turn what SQLite raises about its file into a Fault; mistakes in our SQL stay as they are."""
    try:
        yield
    except UnicodeDecodeError as error:  # SQLite quotes a damaged schema in its own message
        raise damaged(path) from error
    except sqlite3.DatabaseError as error:
        if type(error) not in (sqlite3.DatabaseError, sqlite3.OperationalError):
            raise
        reach("ledger failed")
        raise as_fault(path, error) from error
