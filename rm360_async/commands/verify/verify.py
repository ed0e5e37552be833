"""`rm360 verify`: compare every published folder with its record and with the ledger."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio

from rm360_async.commands.verify.progress import verify_progress
from rm360_async.commands.verify.repair import repair
from rm360_async.commands.verify.result import VerifyReport, as_dict, as_text
from rm360_async.config import Settings
from rm360_async.domain.errors import BadRequest, Fault
from rm360_async.domain.exit_code import ExitCode
from rm360_async.domain.names import Performance, is_performance, is_subject, output_folder
from rm360_async.domain.record import Record
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import PerformanceRow
from rm360_async.domain.terms import PerformanceFilter
from rm360_async.ledger import ledger_path, opened
from rm360_async.store.check import Depth, FolderCheck, check_folder
from rm360_async.store.marker import read_marker
from rm360_async.system.disk_threads import on_disk_thread

_THREADS = 4
"""Files read at once: enough to keep a solid-state disk busy, few enough for the seeks of a spinning one."""
_MAX_ATTEMPTS = 3


@dataclass(frozen=True)
class VerifyOptions:
    """Options of `rm360 verify` that are not in the config."""

    deep: bool = False
    repair: bool = False
    wanted: PerformanceFilter = field(default_factory=PerformanceFilter)
    as_json: bool = False


async def verify(settings: Settings, options: VerifyOptions) -> int:
    """Check the folders, queue damaged ones if asked to, and print the report; SOME_FAILED if anything differs."""
    report = VerifyReport(options.deep)
    rows = await _read_rows(settings, options, report)
    output_dir = settings.storage.output_dir
    folders = await on_disk_thread(find_folders, output_dir)
    report.remarks += options.wanted.unmatched(folders)
    performances = list(filter(options.wanted.selects, folders))
    await _check_all(output_dir, performances, report)
    if rows is not None:
        _compare_with_ledger(report, rows)
    if options.repair and report.damaged:
        await repair(settings, report)
    print(json.dumps(as_dict(report), indent=1) if options.as_json else as_text(report))
    return ExitCode.SOME_FAILED if report.has_problems else ExitCode.DONE


async def _read_rows(
    settings: Settings, options: VerifyOptions, report: VerifyReport
) -> dict[Performance, PerformanceRow] | None:
    """Return the selected rows of the ledger; None, with a remark, if there is none or it cannot be read."""
    if not await anyio.Path(ledger_path(settings.storage.manifest_path)).exists():
        report.remarks.append("there is no ledger; only the folders were checked")
        return None
    try:
        async with opened(settings.storage.manifest_path) as (ledger, claims):
            rows = await ledger.rows(claims=claims)
    except Fault as fault:
        if options.repair:
            raise
        report.remarks.append(f"only the folders were checked: {fault}")
        return None
    return {row.performance: row for row in rows if options.wanted.selects(row.performance)}


def find_folders(output_dir: Path) -> list[Performance]:
    """Return the performances that have a folder, published or not, in the order of the manifest."""
    if not output_dir.is_dir():
        raise BadRequest(f"storage.output_dir: there is no folder {output_dir}; is its disk mounted?")
    performances = [
        Performance(subject.name, folder.name)
        for subject in output_dir.iterdir()
        if is_subject(subject.name) and subject.is_dir()
        for folder in subject.iterdir()
        if is_performance(folder.name) and folder.is_dir()
    ]
    return sorted(performances, key=lambda each: each.sort_key)


async def _check_all(output_dir: Path, performances: list[Performance], report: VerifyReport) -> None:
    total_bytes = await on_disk_thread(_recorded_bytes, output_dir, performances) if report.deep else 0
    threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="verify") if report.deep else None
    try:
        async with verify_progress(len(performances), total_bytes) as progress:
            for each in performances:
                await _check_one(output_dir, each, report, threads, progress.add_bytes)
                progress.add_folder()
    finally:
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)


async def _check_one(
    output_dir: Path,
    performance: Performance,
    report: VerifyReport,
    threads: Executor | None,
    on_bytes: Callable[[int], None],
) -> None:
    folder = output_folder(output_dir, performance)
    identity = (performance.subject, performance.name)
    try:
        check = partial(check_until_stable, folder, identity, threads, on_bytes)
        report.checks[performance] = await on_disk_thread(check, abandon=True)
    except OSError as error:
        report.unreadable[performance] = f"its folder cannot be read: {error.strerror}"


def check_until_stable(
    folder: Path, identity: tuple[str, str], threads: Executor | None, on_bytes: Callable[[int], None]
) -> FolderCheck:
    """Check a folder; check it again if a run replaced it meanwhile."""
    for _ in range(_MAX_ATTEMPTS):
        inode = folder.stat().st_ino
        check = check_folder(folder, identity, threads, on_bytes)
        if not check.flaws or folder.stat().st_ino == inode:
            break
    return check


def _recorded_bytes(output_dir: Path, performances: Iterable[Performance]) -> int:
    """Return the bytes of the folders according to their markers: what a deep check has to read."""
    size = 0
    for each in performances:
        with suppress(OSError):  # reported when the folder is checked
            record = read_marker(output_folder(output_dir, each))
            size += record.bytes if isinstance(record, Record) else 0
    return size


def _compare_with_ledger(report: VerifyReport, rows: Mapping[Performance, PerformanceRow]) -> None:
    for each, row in rows.items():
        check = report.checks.get(each)
        is_missing = check is None or check.depth is Depth.FOREIGN
        if row.stage is Stage.COMPLETED and is_missing and each not in report.unreadable:
            report.folder_missing.append(each)
    for each, check in report.published.items():
        known = rows.get(each)
        is_completed = known is not None and (known.stage is Stage.COMPLETED or known.forced)
        if not is_completed and not check.queued:
            report.unknown_to_ledger.append(each)
