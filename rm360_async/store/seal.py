"""Finish a staging folder: compare it with its list of files, write the marker, make everything durable."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.record import Record
from rm360_async.store.file_list import FILE_LIST, read_file_list
from rm360_async.store.marker import MARKER
from rm360_async.system.fault_points import reach
from rm360_async.system.files import create_file, sync
from rm360_async.system.linux import sync_file_system
from rm360_async.system.os_errors import os_errors

_SYNC_THREADS = 8


@contextmanager
def open_file_system(staging: Path) -> Iterator[int]:
    """Open the file system of a folder that is not created yet; gives the descriptor that `seal` needs.

    The kernel reports a write error once to each descriptor that was open when it happened. A descriptor opened when
    the folder is sealed would miss an error that was already reported to the sync of another process.
    """
    with os_errors("write", staging):
        descriptor = os.open(next(folder for folder in staging.absolute().parents if folder.is_dir()), os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def seal(staging: Path, record: Record, file_system: int) -> None:
    """Write the marker and make all of the folder durable; see `open_file_system`.

    The folder must hold exactly the files of its list and as many as the record says, else Fault(UNKNOWN): a folder
    that is not as it was written is not published. Write errors are Faults.
    """
    reach("sealing")
    with os_errors("write", staging):
        _check_files(staging, record)
        reach("files counted")
        create_file(staging / MARKER, record.to_json().encode())
        reach("marker written")
        make_durable(staging, file_system)
    reach("sealed")


def make_durable(staging: Path, file_system: int) -> None:
    """Sync everything in a folder, and its name; see `open_file_system`. Raises OSError."""
    if not sync_file_system(file_system):
        _sync_each(staging)


def files_below(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield (path below the folder, bytes) of every file; Fault(IN_THE_WAY) for anything but files and folders."""
    pending = [""]
    while pending:
        below = pending.pop()
        with os.scandir(folder / below) as entries:
            for entry in entries:
                relative = f"{below}/{entry.name}" if below else entry.name
                if entry.is_dir(follow_symlinks=False):
                    pending.append(relative)
                elif entry.is_file(follow_symlinks=False):
                    yield relative, entry.stat(follow_symlinks=False).st_size
                else:
                    raise Fault(Cause.IN_THE_WAY, f"{entry.path} is neither a file nor a folder", "remove it")


def _check_files(staging: Path, record: Record) -> None:
    if not (staging / FILE_LIST).is_file():
        raise Fault(Cause.UNKNOWN, f"{staging} has no list of its files")
    count, total = 0, 0
    unseen = {file.path: file.size for file in read_file_list(staging)}
    different: list[str] = []
    for path, size in files_below(staging):
        if path != FILE_LIST:
            count, total = count + 1, total + size
            different += [path] if unseen.pop(path, None) != size else []
    if (count, total) != (record.files, record.bytes):
        expected = f"expected {record.files} files ({record.bytes} bytes)"
        raise Fault(Cause.UNKNOWN, f"{staging}: {expected}, found {count} ({total} bytes)")
    if different or unseen:
        raise Fault(Cause.UNKNOWN, f"{staging / min([*different, *unseen])} does not match the folder's list of files")


def _sync_each(staging: Path) -> None:
    """Sync every file, several at a time, then every folder from the deepest up, then the parent."""
    folders = [Path(folder) for folder, _, _ in os.walk(staging)]
    files = [staging / relative for relative, _ in files_below(staging)]
    with ThreadPoolExecutor(_SYNC_THREADS) as threads:
        for _ in threads.map(sync, files):
            pass
    for folder in (*reversed(folders), staging.parent):
        sync(folder)
