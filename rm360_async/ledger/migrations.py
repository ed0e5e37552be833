"""Ledgers of earlier versions, brought to the schema of this one.

Theory of operation. `PRAGMA user_version` holds the schema's version; `schema.MIGRATIONS` has the statements from each
version to the next. A ledger is migrated when a process opens it to write, before anything else: under the claim that
also guards its creation, and only while no other process holds a claim, since an older rm360 would fail on the new
names. First a copy of the whole file is kept beside it, then all statements run in one transaction; so a crash leaves
either the old ledger or the new one. Processes that only read (`status`, `export-manifest`) migrate a copy in memory.
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from rm360_async.domain.errors import Cause, Fault
from rm360_async.ledger.check import check_content, read_version
from rm360_async.ledger.claims import CREATION, Claims
from rm360_async.ledger.errors import as_fault
from rm360_async.ledger.ledger_file import create as create_file
from rm360_async.ledger.ledger_file import lock_path, open_file, remove_with_journal
from rm360_async.ledger.schema import VERSION, statements_from
from rm360_async.system.fault_points import reach
from rm360_async.system.files import free_name, sync_folder

_log = logging.getLogger(__name__)


def prepare(path: Path, *, create: bool, read_only: bool) -> None:
    """Create the ledger file at `path` if there is none and `create`; migrate it unless `read_only`.

    Raises Fault(LEDGER) for a file that is missing or a symbolic link, and what `migrate` raises.
    """
    if path.is_symlink():  # its lock file would lie beside the link, where others do not look
        hint = "move the ledger itself there, or point storage.manifest_path to the real folder"
        raise Fault(Cause.LEDGER, f"the ledger {path} is a symbolic link", hint)
    if create:
        create_file(path)
        reach("ledger made")
    elif not path.exists():
        raise Fault(Cause.LEDGER, f"there is no ledger at {path} yet", "`rm360 run` creates it")
    if not read_only:
        migrate(path)


def migrate(path: Path) -> None:
    """Bring the ledger at `path` to VERSION, unless it is; keep a copy of the old one beside it.

    Raises Fault(LEDGER) for a ledger that is foreign, damaged or newer, or that another process works with, and
    sqlite3.Error, whose meaning `ledger_faults` knows. It is then as it was.
    """
    with closing(open_file(path)) as connection:
        if read_version(connection, path) == VERSION:
            return
        with Claims(lock_path(path)) as claims:
            claims.wait_for(CREATION)
            if read_version(connection, path) != VERSION:  # no other process has just done it
                _migrate(connection, path, claims)


def _migrate(connection: sqlite3.Connection, path: Path, claims: Claims) -> None:
    version = read_version(connection, path)
    if claims.is_used_by_others():
        message = f"cannot migrate the ledger {path} of an earlier rm360 while another instance works with it"
        raise Fault(Cause.LEDGER, message, "end the running instances first")
    check_content(connection, path)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        copy = _keep_copy(path, version)
        reach("ledger copied")
        for statement in statements_from(version):
            connection.execute(statement)
        reach("ledger migrated")
        connection.execute("COMMIT")
    except OSError as error:
        raise as_fault(path, error) from error
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    message = "migrated the ledger %s from schema %d to %d; to go back to the earlier rm360, rename its copy %s to %s"
    _log.warning(message, path, version, VERSION, copy.name, path.name)


def _keep_copy(path: Path, version: int) -> Path:
    """Copy the ledger durably to `<name>.schema-<version>`, or the next free name; return the copy's path.

    A file of that name with the same content, as a crash after the copy leaves it, is the copy.
    """
    fresh = path.with_name(f".{path.name}.copy")
    remove_with_journal(fresh)
    try:
        # By SQLite: to close a file that was read otherwise would drop the locks that this process has on it.
        with closing(open_file(path)) as source, closing(sqlite3.connect(fresh)) as target:
            target.execute("PRAGMA synchronous = FULL")
            source.backup(target)
        shutil.copymode(path, fresh)
        copy = free_name(path.with_name(f"{path.name}.schema-{version}"), fresh)
        fresh.replace(copy)
    finally:
        remove_with_journal(fresh)
    sync_folder(path.parent)
    return copy
