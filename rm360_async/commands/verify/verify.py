"""`rm360 verify`: every published folder against its record, and against what the ledger believes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from rm360_async.commands.verify.progress import ProgressLine
from rm360_async.commands.verify.repair import repair
from rm360_async.commands.verify.result import VerifyReport, as_dict, as_text
from rm360_async.config import Settings
from rm360_async.domain.errors import BadRequest, Fault
from rm360_async.domain.names import Performance, is_performance, is_subject, matches_any, output_folder
from rm360_async.domain.record import Record
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import PerformanceRow
from rm360_async.ledger import ledger_path, opened
from rm360_async.store.check import Depth, FolderCheck, check_folder
from rm360_async.store.marker import read_marker

_THREADS = 4
"""Files read at once: keeps a solid-state disk busy, and does not drown a spinning one in seeks."""
_TRIES = 3


@dataclass(frozen=True)
class VerifyOptions:
    """What the command line asks for beside the config; no subjects or performances mean all."""

    deep: bool = False
    repair: bool = False
    subjects: tuple[str, ...] = ()
    performances: tuple[str, ...] = ()
    as_json: bool = False

    def selects(self, performance: Performance) -> bool:
        """Tell whether this performance is to be checked."""
        by_subject = not self.subjects or performance.subject in self.subjects
        return by_subject and (not self.performances or matches_any(performance.name, self.performances))


async def verify(settings: Settings, options: VerifyOptions) -> int:
    """Check, repair when asked, and print what was found; return 1 when anything is not as it was published."""
    found = VerifyReport(options.deep)
    rows = await _rows(settings, options, found)
    output_dir = settings.storage.output_dir
    folders = [each for each in await run_sync(published_names, output_dir) if options.selects(each)]
    await _check_all(output_dir, folders, found)
    _compare_with_ledger(found, rows)
    if options.repair and found.damaged:
        await repair(settings, found)
    print(json.dumps(as_dict(found), indent=1) if options.as_json else as_text(found))
    return 1 if found.wrong else 0


async def _rows(
    settings: Settings, options: VerifyOptions, found: VerifyReport
) -> dict[Performance, PerformanceRow] | None:
    """Return the ledger's rows of the selection; None, with a remark, when there is no ledger to read."""
    if not await anyio.Path(ledger_path(settings.storage.manifest_path)).exists():
        found.remarks.append("there is no ledger; the folders were checked alone")
        return None
    try:
        async with opened(settings.storage.manifest_path) as (ledger, claims):
            rows = await ledger.rows(claims=claims)
    except Fault as fault:
        if options.repair:
            raise
        found.remarks.append(f"the folders were checked alone: {fault}")
        return None
    return {row.performance: row for row in rows if options.selects(row.performance)}


def published_names(output_dir: Path) -> list[Performance]:
    """Return every folder below the output folder whose name is that of a performance, in the field's order."""
    if not output_dir.is_dir():
        raise BadRequest(f"storage.output_dir: {output_dir} is not there; is its disk mounted?")
    names = [
        Performance(subject.name, folder.name)
        for subject in output_dir.iterdir()
        if is_subject(subject.name) and subject.is_dir()
        for folder in subject.iterdir()
        if is_performance(folder.name) and folder.is_dir()
    ]
    return sorted(names, key=lambda each: each.sort_key)


async def _check_all(output_dir: Path, folders: list[Performance], found: VerifyReport) -> None:
    total = await run_sync(_bytes_claimed, output_dir, folders) if found.deep else 0
    headway = ProgressLine("verify", len(folders), total)
    threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="verify") if found.deep else None
    try:
        async with anyio.create_task_group() as around:
            around.start_soon(headway.follow)
            for each in folders:
                await _check_one(output_dir, each, found, threads, headway.add_bytes)
                headway.items += 1
            around.cancel_scope.cancel()
    finally:
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)
        headway.clear()


async def _check_one(
    output_dir: Path, each: Performance, found: VerifyReport, threads: Executor | None, on_bytes: Callable[[int], None]
) -> None:
    folder = output_folder(output_dir, each)
    identity = (each.subject, each.name)
    try:
        check = partial(check_steadily, folder, identity, threads, on_bytes)
        found.checked[each] = await run_sync(check, abandon_on_cancel=True)
    except OSError as error:
        found.unread[each] = f"its folder cannot be read: {error.strerror}"


def check_steadily(
    folder: Path, identity: tuple[str, str], threads: Executor | None, on_bytes: Callable[[int], None]
) -> FolderCheck:
    """Check a folder; once more when a run has put another one in its place meanwhile."""
    for _ in range(_TRIES):
        before = folder.stat().st_ino
        checked = check_folder(folder, identity, threads, on_bytes)
        if not checked.flaws or folder.stat().st_ino == before:
            break
    return checked


def _bytes_claimed(output_dir: Path, folders: Iterable[Performance]) -> int:
    """Return the bytes that the markers claim: the work ahead of a deep check."""
    size = 0
    for each in folders:
        with suppress(OSError):  # told when its turn comes
            record = read_marker(output_folder(output_dir, each))
            size += record.bytes if isinstance(record, Record) else 0
    return size


def _compare_with_ledger(found: VerifyReport, rows: dict[Performance, PerformanceRow] | None) -> None:
    if rows is None:
        return
    for each, row in rows.items():
        check = found.checked.get(each)
        gone = check is None or check.depth is Depth.FOREIGN
        if row.stage is Stage.COMPLETED and gone and each not in found.unread:
            found.lost.append(each)
    for each, check in found.published.items():
        known = rows.get(each)
        if (known is None or (known.stage is not Stage.COMPLETED and not known.forced)) and not check.queued:
            found.unknown.append(each)
