"""Enter published folders that the ledger does not know: those from before the ledger, or of a run that was killed.

The folders decide. A MANIFEST.csv from before the ledger is kept as a copy and not read: what it says of cameras and
frames was never counted. They are counted in the folder, or taken from the record in its marker.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rm360_async.domain.names import Performance, is_camera, is_performance, is_subject, output_folder
from rm360_async.domain.record import Record
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import PerformanceRow
from rm360_async.ledger.earlier_manifest import IMPORTED_KEY, keep_earlier_manifest
from rm360_async.ledger.ledger import Ledger
from rm360_async.ledger.rows import row_from_record
from rm360_async.store.marker import MARKER, read_marker
from rm360_async.system.disk_threads import on_disk_thread, stop_if_cancelled
from rm360_async.system.fault_points import reach

_BATCH_FOLDERS = 64
"""So many folders are entered at once: what a start that is killed has read is kept but for the last of them."""
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class AdoptedFolders:
    """Completed rows of published folders, and a line for each folder that could not be read."""

    rows: tuple[PerformanceRow, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class ImportResult:
    """What a new ledger was filled with."""

    completed: int
    """Number of published folders."""
    copy: Path | None
    """The copy of the MANIFEST.csv that was there before, if there was one."""
    problems: tuple[str, ...]
    """A line for each folder that could not be read."""


async def import_existing(
    ledger: Ledger, manifest_path: Path, output_dir: Path, on_progress: OnProgress = lambda done, total: None
) -> ImportResult | None:
    """Fill a new ledger from the published folders, once; None if it was done before.

    The folders are entered batch by batch, and one that was entered is not read again: an import that is killed,
    however often, goes on where it was. `on_progress` gets the number of folders done and in all. A MANIFEST.csv that
    is there is copied to `MANIFEST.csv.earlier` before it is replaced by that of the ledger.
    Raises Fault(NOT_WRITABLE) or Fault(DISK_FULL) if it cannot be copied.
    """
    if await ledger.hints.get_meta(IMPORTED_KEY) is not None:
        return None
    copy = await keep_earlier_manifest(ledger, manifest_path)
    problems: list[str] = []
    folders = await on_disk_thread(_find_folders, output_dir, problems)
    done = {row.performance for row in await ledger.rows() if row.stage is Stage.COMPLETED}
    remaining = [performance for performance in folders if performance not in done]
    completed, before = len(folders) - len(remaining), len(folders) - len(remaining)
    for start in range(0, len(remaining), _BATCH_FOLDERS):
        on_progress(before + start, len(folders))
        batch = remaining[start : start + _BATCH_FOLDERS]
        rows = await on_disk_thread(_adopt, output_dir, batch, problems)
        await ledger.import_rows(rows)
        completed += len(rows)
        reach("folders imported")
    await ledger.hints.set_meta(IMPORTED_KEY, datetime.now().isoformat(timespec="seconds"))
    return ImportResult(completed, copy, tuple(problems))


async def adopt_folders(output_dir: Path, performances: Iterable[Performance] | None = None) -> AdoptedFolders:
    """Return completed rows for the published folders (of some performances) below `output_dir`.

    There are none if it does not exist. `Ledger.import_rows` enters them.
    """
    problems: list[str] = []
    if performances is None:
        performances = await on_disk_thread(_find_folders, output_dir, problems)
    rows = await on_disk_thread(_adopt, output_dir, list(performances), problems)
    return AdoptedFolders(tuple(rows), tuple(problems))


def _find_folders(output_dir: Path, problems: list[str]) -> list[Performance]:
    """Return the performances that have a folder below `output_dir`, published or not, sorted."""
    found = []
    for subject in _folder_names(output_dir, is_subject, problems):
        stop_if_cancelled()
        names = _folder_names(output_dir / subject, is_performance, problems)
        found += [Performance(subject, name) for name in names]
    return found


def _adopt(output_dir: Path, performances: Iterable[Performance], problems: list[str]) -> list[PerformanceRow]:
    rows = []
    for performance in performances:
        stop_if_cancelled()
        try:
            row = _row_from_folder(output_folder(output_dir, performance), performance)
        except OSError as error:
            problems.append(f"{error.filename or performance}: {error.strerror}")
            continue
        if row is not None:
            rows.append(row)
    return rows


def _row_from_folder(folder: Path, performance: Performance) -> PerformanceRow | None:
    """Return the completed row of a published folder, None for a folder without a marker."""
    record = read_marker(folder)
    if record is None:
        return None
    marker = (folder / MARKER).lstat()
    if not stat.S_ISREG(marker.st_mode):
        reason = "is not a regular file, so the folder is not known to be complete; it is left alone"
        raise OSError(errno.EINVAL, reason, str(folder / MARKER))
    if isinstance(record, Record):
        return row_from_record(performance, record, marker.st_mtime)
    frames = _count_images(folder / "images")
    return PerformanceRow(
        performance,
        Stage.COMPLETED,
        cameras_extracted=len(frames),
        frames=max(frames.values(), default=0),
        bytes=_size(folder),
        updated=marker.st_mtime,
    )


def _count_images(images: Path) -> dict[str, int]:
    """Return how many images each `cam_XX` folder has, by camera, without those that have none."""
    counts = {}
    for folder in images.iterdir() if images.is_dir() else ():
        if folder.name.startswith("cam_") and is_camera(folder.name[4:]) and folder.is_dir():
            counts[folder.name[4:]] = sum(name.lower().endswith(_IMAGE_SUFFIXES) for name in _entry_names(folder))
    return {camera: count for camera, count in counts.items() if count}


def _size(folder: Path) -> int:
    """Return the bytes of all files below a folder; symbolic links are not followed."""
    total = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                total += _size(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                total += entry.stat(follow_symlinks=False).st_size
    return total


def _folder_names(folder: Path, is_wanted: Callable[[str], bool], problems: list[str]) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if is_wanted(entry.name) and entry.is_dir())
    except FileNotFoundError:
        return []
    except OSError as error:
        problems.append(f"{folder}: {error.strerror}")
        return []


def _entry_names(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries]
