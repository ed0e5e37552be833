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
from rm360_async.system.files import sync, write_all
from rm360_async.system.linux import sync_file_system
from rm360_async.system.os_errors import os_errors

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SYNC_THREADS = 8


@contextmanager
def file_system_of(staging: Path) -> Iterator[int]:
    """Open the file system of a folder that is still to be made and filled; `seal` needs it.

    The kernel tells an error of writing once to each descriptor that was open when it happened. One that is opened
    at the seal would not hear of what the sync of another process has been told.
    """
    with os_errors("write", staging):
        descriptor = os.open(next(each for each in staging.absolute().parents if each.is_dir()), os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def seal(staging: Path, record: Record, file_system: int) -> None:
    """Write the marker and make all of the folder durable; see `file_system_of`.

    The folder must hold exactly what its list of files and the record count, else Fault(UNKNOWN): what is not
    as it was written is not published. Write errors are Faults.
    """
    reach("sealing")
    with os_errors("write", staging):
        _check_files(staging, record)
        reach("files counted")
        _write_new(staging / MARKER, record.to_json())
        reach("marker written")
        if not sync_file_system(file_system):
            _sync_each(staging)
    reach("sealed")


def files_below(folder: Path) -> Iterator[tuple[str, int]]:
    """Yield (path below the folder, bytes) of every file; Fault for anything but files and folders."""
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
    files, size = 0, 0
    listed = dict(read_file_list(staging))
    odd: list[str] = []
    for path, found in files_below(staging):
        if path != FILE_LIST:
            files, size = files + 1, size + found
            odd += [path] if listed.pop(path, None) != found else []
    if (files, size) != (record.files, record.bytes):
        wanted = f"{record.files} files, {record.bytes} bytes"
        raise Fault(
            Cause.UNKNOWN, f"{staging} holds {files} files, {size} bytes, and not the {wanted} that were written"
        )
    if odd or listed:
        raise Fault(Cause.UNKNOWN, f"{staging / min([*odd, *listed])} is not as its list of files has it")


def _write_new(path: Path, text: str) -> None:
    descriptor = os.open(path, _NEW_FILE, 0o666)
    try:
        write_all(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _sync_each(staging: Path) -> None:
    """Sync every file by threads, then every folder from the deepest up, then the parent."""
    folders = [Path(folder) for folder, _, _ in os.walk(staging)]
    files = [staging / relative for relative, _ in files_below(staging)]
    with ThreadPoolExecutor(_SYNC_THREADS) as threads:
        for _ in threads.map(sync, files):
            pass
    for folder in (*reversed(folders), staging.parent):
        sync(folder)
    reach("folder synced")
