"""MANIFEST.csv: the ledger's picture for people and scripts, replaced in one step and never half written."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import PerformanceRow
from rm360_async.ledger.claims import MANIFEST, Claims
from rm360_async.ledger.ledger import Ledger
from rm360_async.system.fault_points import reach
from rm360_async.system.files import put_in_place, write_temporary
from rm360_async.system.os_errors import os_errors

COLUMNS = (
    *("subject", "performance", "status", "cameras_extracted", "frames", "size_gb", "timestamp", "error"),
    "verdict",
)
EVERY_SECONDS = 10.0
_log = logging.getLogger(__name__)
_OTHERS_WRITE_AT_MOST = 100
"""Looks, 0.1 s apart, at whether another instance still writes before the last picture is written anyway."""


def manifest_text(rows: Iterable[PerformanceRow]) -> str:
    """Return the CSV text of the rows, sorted; ids with their zeros, size_gb in 2**30 bytes, times local."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows(map(_line, sorted(rows, key=lambda row: row.performance.sort_key)))
    return text.getvalue()


def _line(row: PerformanceRow) -> tuple[str, ...]:
    return (
        row.performance.subject,
        row.performance.name,
        row.stage.value,
        str(row.cameras_extracted),
        str(row.frames),
        f"{row.bytes / 2**30:.4f}",
        datetime.fromtimestamp(row.updated).isoformat(timespec="seconds"),
        error_text(row),
        " ".join(row.verdict.split()),
    )


def error_text(row: PerformanceRow) -> str:
    """Return the error column: a waiting row says for what and until when, others their reason in one line."""
    word = row.cause.code if row.cause else ""
    if row.stage is Stage.WAITING and row.wait_until is not None:
        return f"{word or 'waiting'}, until {datetime.fromtimestamp(row.wait_until):%Y-%m-%d %H:%M}"
    return " ".join((row.reason or word).split())


async def write_manifest(path: Path, rows: Iterable[PerformanceRow]) -> None:
    """Replace the file at `path` with the rows' picture, durably; a symbolic link there is replaced itself.

    Raises Fault(NOT_WRITABLE) or Fault(DISK_FULL); the old file is then untouched.
    """
    with anyio.CancelScope(shield=True):
        await anyio.to_thread.run_sync(_write, path, rows)


def _write(path: Path, rows: Iterable[PerformanceRow]) -> None:
    with os_errors("write", path, "check the path and its permissions", Cause.NOT_WRITABLE):
        temporary = write_temporary(path, manifest_text(rows).encode())
        reach("manifest written")
        put_in_place(temporary, path)
        reach("manifest in place")


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError:
            return  # a folder that we cannot write: the write that follows says so


class ManifestWriter:
    """Keeps a manifest up to date while a run goes on: at most once every so many seconds, and at the end.

    Start `follow` as a task, `touch` after changes, and when the task is cancelled call `finish`.
    The claim MANIFEST is held from reading the rows to the rename, so of several instances none puts an older
    picture over a newer one.
    """

    def __init__(
        self,
        path: Path,
        ledger: Ledger,
        claims: Claims,
        *,
        every: float = EVERY_SECONDS,
        pause: Callable[[float], Awaitable[Any]] = anyio.sleep,
    ) -> None:
        self._path, self._ledger, self._claims = path, ledger, claims
        self._every, self._pause = every, pause
        self._changed = anyio.Event()
        self._writing = anyio.Lock()
        self.written = 0
        """How many pictures were written."""
        self.trouble: Fault | None = None
        """Why the last picture could not be written; it is tried again."""

    def touch(self) -> None:
        """Note that the ledger has changed; returns at once."""
        self._changed.set()

    async def write(self) -> bool:
        """Write the picture now; False when another instance is writing one. Raises Fault."""
        async with self._writing:
            if not self._claims.claim(MANIFEST):
                return False
            try:
                with anyio.CancelScope(shield=True):
                    await write_manifest(self._path, await self._ledger.rows(claims=self._claims))
            finally:
                self._claims.release(MANIFEST)
            self.written += 1
            return True

    async def follow(self) -> None:
        """Write whenever the ledger has changed, until cancelled; what fails is kept as `trouble` and tried again."""
        await anyio.to_thread.run_sync(self._sweep)
        while True:
            await self._changed.wait()
            self._changed = anyio.Event()
            try:
                if not await self.write():
                    self._changed.set()
                self.trouble = None
            except Fault as fault:
                if self.trouble is None:
                    _log.warning("%s; trying again", fault)
                self.trouble = fault
                self._changed.set()
            await self._pause(self._every)

    async def finish(self) -> None:
        """Write the last state, whatever was asked of us meanwhile. Raises Fault."""
        with anyio.CancelScope(shield=True):
            await self._write_last()

    async def _write_last(self) -> None:
        for _ in range(_OTHERS_WRITE_AT_MOST):
            if await self.write():
                return
            await anyio.sleep(0.1)
        await write_manifest(self._path, await self._ledger.rows(claims=self._claims))

    def _sweep(self) -> None:
        """Remove what a killed process left; under the claim, so nobody is writing one now."""
        if self._claims.claim(MANIFEST):
            try:
                _remove(self._path.parent.glob(f".{self._path.name}.*.new"))
            finally:
                self._claims.release(MANIFEST)
