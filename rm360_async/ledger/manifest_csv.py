"""MANIFEST.csv: the ledger as a table for people and scripts, replaced in one step and never half written."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import anyio

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import PerformanceRow
from rm360_async.ledger.claims import MANIFEST, Claims
from rm360_async.ledger.earlier_manifest import keep_earlier_manifest
from rm360_async.ledger.ledger import Ledger
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.fault_points import reach
from rm360_async.system.files import remove_temporary_files, replacement_of, write_all
from rm360_async.system.os_errors import os_errors

COLUMNS = (
    *("subject", "performance", "status", "cameras_extracted", "frames", "size_gb", "timestamp", "error"),
    *("verdict", "folder", "finished", "fps", "audio_seconds"),
)
"""Columns are only added, at the end: scripts read them."""
WRITE_INTERVAL_SECONDS = 10.0
_MAX_WAITS_FOR_OTHERS = 100
_WAIT_SECONDS = 0.1
"""The last state is written after so many waits, although another instance still writes."""
_log = logging.getLogger(__name__)


def manifest_text(rows: Iterable[PerformanceRow]) -> str:
    """Return the CSV text of the rows, sorted; ids with their zeros, size_gb in 2**30 bytes.

    `timestamp` is local and without a zone, `finished` (of a published folder) in UTC with its zone.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(map(_values, sorted(rows, key=lambda row: row.performance.sort_key)))
    return text.getvalue()


def _values(row: PerformanceRow) -> tuple[str, ...]:
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
        str(row.performance),
        _finished_text(row),
        "" if row.fps is None else f"{row.fps:g}",
        "" if row.audio_seconds is None else f"{row.audio_seconds:.3f}",
    )


def _finished_text(row: PerformanceRow) -> str:
    """Return when the folder was published, in one zone for all rows, so that a table's reader sees one type."""
    if row.stage is not Stage.COMPLETED:
        return ""
    return datetime.fromtimestamp(row.updated, timezone.utc).isoformat(timespec="seconds")


def error_text(row: PerformanceRow) -> str:
    """Return the error column: a waiting row says for what and until when, others their reason in one line."""
    code = row.cause.code if row.cause else ""
    if row.stage is Stage.WAITING and row.wait_until is not None:
        return f"{code or 'waiting'}, until {datetime.fromtimestamp(row.wait_until):%Y-%m-%d %H:%M}"
    return " ".join((row.reason or code).split())


async def write_manifest(path: Path, rows: Iterable[PerformanceRow]) -> None:
    """Replace the file at `path` by the table of the rows, durably; a symbolic link there is replaced itself.

    Raises Fault(NOT_WRITABLE) or Fault(DISK_FULL); the old file is then untouched.
    """
    with anyio.CancelScope(shield=True):
        await on_disk_thread(_write, path, rows)


def _write(path: Path, rows: Iterable[PerformanceRow]) -> None:
    with os_errors("write", path, "check the path and its permissions", Cause.NOT_WRITABLE):
        with replacement_of(path) as temporary:
            write_all(temporary.descriptor, manifest_text(rows).encode(errors="backslashreplace"))
            reach("manifest written")
        reach("manifest in place")


class ManifestWriter:
    """Keeps a manifest up to date during a run: writes it at most once in so many seconds, and at the end.

    Start `follow` as a task, call `touch` after changes of the ledger, and `finish` after the task was cancelled.
    The claim MANIFEST is held from reading the rows to the rename, so that no instance replaces a newer table by an
    older one. A copy is kept of a table that is older than the ledger.
    """

    def __init__(
        self,
        path: Path,
        ledger: Ledger,
        claims: Claims,
        *,
        interval_seconds: float = WRITE_INTERVAL_SECONDS,
        pause: Callable[[float], Awaitable[Any]] = anyio.sleep,
    ) -> None:
        self._path, self._ledger, self._claims = path, ledger, claims
        self._interval_seconds, self._pause = interval_seconds, pause
        self._changed = anyio.Event()
        self._writing = anyio.Lock()
        self._kept = False

    def touch(self) -> None:
        """Note that the ledger has changed; returns at once."""
        self._changed.set()

    async def write(self) -> bool:
        """Write the table now; return False if another instance is writing one. Raises Fault."""
        async with self._writing:
            with anyio.CancelScope(shield=True):
                if not await on_disk_thread(self._claims.claim, MANIFEST):
                    return False
                try:
                    await self._write_rows()
                finally:
                    await on_disk_thread(self._claims.release, MANIFEST)
            return True

    async def follow(self) -> None:
        """Write whenever the ledger has changed, until cancelled; a failure is logged once and tried again."""
        await on_disk_thread(self._remove_temporary_files)
        has_failed = False
        while True:
            await self._changed.wait()
            self._changed = anyio.Event()
            try:
                if not await self.write():
                    self._changed.set()
                has_failed = False
            except Fault as fault:
                if not has_failed:
                    _log.warning("%s; trying again", fault)
                has_failed = True
                self._changed.set()
            await self._pause(self._interval_seconds)

    async def finish(self) -> None:
        """Write the last state, also if the task is cancelled meanwhile. Raises Fault."""
        with anyio.CancelScope(shield=True):
            for _ in range(_MAX_WAITS_FOR_OTHERS):
                if await self.write():
                    return
                await anyio.sleep(_WAIT_SECONDS)
            await self._write_rows()

    async def _write_rows(self) -> None:
        if not self._kept:
            await keep_earlier_manifest(self._ledger, self._path)
            self._kept = True
        await write_manifest(self._path, await self._ledger.rows(claims=self._claims))

    def _remove_temporary_files(self) -> None:
        """Remove the temporary files of killed processes."""
        with suppress(OSError):  # in a folder that cannot be read the next write fails and is reported
            remove_temporary_files(self._path)
