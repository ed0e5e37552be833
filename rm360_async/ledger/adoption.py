"""Take in what was there before the ledger: published folders, and the MANIFEST.csv of an earlier tool.

The folders decide. What an earlier manifest claims of cameras and frames is not believed (its ids have lost
their zeros, its 60 cameras were never counted); they are counted from the folder, or taken from our record.
"""

from __future__ import annotations

import csv
import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import anyio.to_thread

from rm360_async.domain.errors import Cause
from rm360_async.domain.names import Performance, is_camera, is_performance, is_subject, output_folder
from rm360_async.domain.record import Record
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import PerformanceRow
from rm360_async.ledger.ledger import Ledger
from rm360_async.ledger.rows import row_from_record
from rm360_async.store.marker import MARKER, read_marker
from rm360_async.system.files import free_name, put_in_place, write_temporary
from rm360_async.system.os_errors import os_errors

TAKEN_IN = "imported"
"""The remark that says when this was done, so that it is done once."""
_FOLDER_GONE = "an earlier manifest says completed, but the folder is not there"
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
_DONE_WORDS = ("complete", "done", "success", "ok")
_FAILURE_WORDS = ("fail", "error", "corrupt", "missing")
_SUBJECT_COLUMNS = ("subject", "subject_id", "actor", "actor_id", "id")
_PERFORMANCE_COLUMNS = ("performance", "performance_part", "performance_id", "sequence", "perf")


@dataclass(frozen=True)
class Adopted:
    """Completed rows of the published folders, and a line for each folder that could not be read."""

    rows: tuple[PerformanceRow, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class ImportResult:
    """What was taken in: numbers of rows, the copy of the earlier manifest, and a line per problem."""

    completed: int
    pending: int
    gone: int
    """Of the pending ones, those that the manifest calls completed but that have no folder."""
    copy: Path | None
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Claimed:
    """What a line of an earlier manifest says."""

    performance: Performance
    status: str
    error: str


async def adopt(output_dir: Path) -> Adopted:
    """Return completed rows for all published folders below `output_dir` (none when it does not exist)."""
    rows: list[PerformanceRow] = []
    problems: list[str] = []
    for subject in await anyio.to_thread.run_sync(_names, output_dir, is_subject, problems):
        # One subject at a time, so that a cancellation does not have to wait for the whole tree.
        rows += await anyio.to_thread.run_sync(_adopt_subject, output_dir, subject, problems)
    return Adopted(tuple(rows), tuple(problems))


async def adopt_some(output_dir: Path, performances: Iterable[Performance]) -> Adopted:
    """Return completed rows for those of some performances that have a published folder."""
    problems: list[str] = []
    rows = await anyio.to_thread.run_sync(_adopt_all, output_dir, list(performances), problems)
    return Adopted(tuple(rows), tuple(problems))


async def import_existing(ledger: Ledger, manifest_path: Path, output_dir: Path) -> ImportResult | None:
    """Fill a new ledger from the folders and an earlier manifest, once and in one step; None when it was done.

    The earlier file is kept beside it as `MANIFEST.csv.earlier`. Lines that cannot be understood are problems,
    with their line numbers. Raises Fault(NOT_WRITABLE) when the earlier file cannot be read or copied.
    """
    if await ledger.hints.get_meta(TAKEN_IN) is not None:
        return None
    hint = "check its permissions, or set storage.manifest_path"
    with os_errors("keep a copy of", manifest_path, hint, Cause.NOT_WRITABLE):
        claimed, problems = await anyio.to_thread.run_sync(read_manifest, manifest_path)
        copy = await anyio.to_thread.run_sync(_keep_copy, manifest_path)
    adopted = await adopt(output_dir)
    published = {row.performance for row in adopted.rows}
    now = datetime.now()
    pending = [_pending(line, now.timestamp()) for p, line in claimed.items() if p not in published]
    await ledger.import_rows([*adopted.rows, *pending], meta=(TAKEN_IN, now.isoformat(timespec="seconds")))
    gone = sum(row.reason == _FOLDER_GONE for row in pending)
    return ImportResult(len(adopted.rows), len(pending), gone, copy, (*problems, *adopted.problems))


def _pending(line: Claimed, now: float) -> PerformanceRow:
    status = line.status.lower()
    reason = line.error
    if any(word in status for word in _FAILURE_WORDS):
        reason = line.error or line.status
    elif any(word in status for word in _DONE_WORDS):
        reason = _FOLDER_GONE
    return PerformanceRow(line.performance, Stage.PENDING, reason=reason, updated=now)


def read_manifest(path: Path) -> tuple[dict[Performance, Claimed], list[str]]:
    """Return what an earlier manifest says of each performance (the last line counts), and the problems.

    A file that does not exist says nothing. Raises OSError when it cannot be read.
    """
    claimed: dict[Performance, Claimed] = {}
    problems: list[str] = []
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="replace").replace("\0", "")
    except FileNotFoundError:
        return claimed, problems
    try:
        for where, line in _lines(text):
            entry = _claimed(line)
            if isinstance(entry, Claimed):
                claimed[entry.performance] = entry
            else:
                problems.append(f"{path.name}, line {where}: {entry}")
    except csv.Error as error:
        problems.append(f"{path.name}: the rest cannot be read: {error}")
    return claimed, problems


def _lines(text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the line number and the values by column name in lower case, without blank lines."""
    first = text.lstrip().partition("\n")[0]
    table = csv.reader(text.splitlines(keepends=True), delimiter=";" if ";" in first and "," not in first else ",")
    names: list[str] = []
    for values in table:
        stripped = [value.strip() for value in values]
        if not any(stripped):
            continue
        if not names:
            names = [name.lower() for name in stripped]
        else:
            yield table.line_num, dict(zip(names, stripped, strict=False))


def _claimed(line: dict[str, str]) -> Claimed | str:
    """Return what the line says, or why it cannot be understood."""
    subject = next((line[name] for name in _SUBJECT_COLUMNS if name in line), None)
    name = next((line[name] for name in _PERFORMANCE_COLUMNS if name in line), None)
    if subject is None or name is None:
        return "no columns subject and performance"
    digits = subject.removesuffix(".0")
    padded = digits.zfill(4)
    if not digits or not is_subject(padded):
        return f"{subject!r} is not a subject id (four digits)"
    if not is_performance(name):
        return f"{name!r} is not a performance name"
    return Claimed(Performance(padded, name), line.get("status", ""), line.get("error", ""))


def _keep_copy(path: Path) -> Path | None:
    """Copy the file durably to `<name>.earlier`, or the next free name if that has other contents."""
    if not path.is_file():
        return None
    copy = free_name(path.with_name(path.name + ".earlier"), same_as=path)
    temporary = write_temporary(copy, path.read_bytes())
    shutil.copystat(path, temporary)
    put_in_place(temporary, copy)
    return copy


def _adopt_subject(output_dir: Path, subject: str, problems: list[str]) -> list[PerformanceRow]:
    names = _names(output_dir / subject, is_performance, problems)
    return _adopt_all(output_dir, [Performance(subject, name) for name in names], problems)


def _adopt_all(output_dir: Path, performances: Iterable[Performance], problems: list[str]) -> list[PerformanceRow]:
    rows = []
    for performance in performances:
        try:
            row = _adopt_folder(output_folder(output_dir, performance), performance)
        except OSError as error:
            problems.append(f"{error.filename or performance}: {error.strerror}")
            continue
        if row is not None:
            rows.append(row)
    return rows


def _adopt_folder(folder: Path, performance: Performance) -> PerformanceRow | None:
    record = read_marker(folder)
    if record is None:
        return None
    marker = (folder / MARKER).lstat()
    if not stat.S_ISREG(marker.st_mode):
        raise OSError(
            errno.EINVAL, "is no file, so it says nothing of the folder; it is left alone", str(folder / MARKER)
        )
    published = marker.st_mtime
    if isinstance(record, Record):
        return row_from_record(performance, record, published)
    cameras = _count_images(folder / "images")
    return PerformanceRow(
        performance,
        Stage.COMPLETED,
        cameras_extracted=len(cameras),
        frames=max(cameras.values(), default=0),
        bytes=_size(folder),
        updated=published,
    )


def _count_images(images: Path) -> dict[str, int]:
    """Return how many images each `cam_XX` folder has, without those that have none."""
    counts = {}
    for folder in images.iterdir() if images.is_dir() else ():
        if folder.name.startswith("cam_") and is_camera(folder.name[4:]) and folder.is_dir():
            counts[folder.name[4:]] = sum(name.lower().endswith(_IMAGE_SUFFIXES) for name in _entries(folder))
    return {camera: count for camera, count in counts.items() if count}


def _size(folder: Path) -> int:
    """Return the bytes of all files below a folder, links not followed."""
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                total += _size(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                total += entry.stat(follow_symlinks=False).st_size
    return total


def _names(folder: Path, fits: Callable[[str], bool], problems: list[str]) -> list[str]:
    try:
        return sorted(name for name in _entries(folder) if fits(name) and (folder / name).is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        problems.append(f"{folder}: {error.strerror}")
        return []


def _entries(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries]
