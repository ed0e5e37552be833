"""Files that appear in one step, durable names, names that are still free, and removal that hides no failure."""

from __future__ import annotations

import filecmp
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rm360_async.system.file_locks import SHARED, locked_if_unused, try_lock

_log = logging.getLogger(__name__)
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_COMMON_MODE, _PRIVATE_MODE = 0o666, 0o600
"""Modes of new files; the umask takes its part away."""


def write_atomically(path: Path, data: bytes, *, durable: bool = True, private: bool = False) -> None:
    """Replace the file at `path` by one with this content, in one step. Raises OSError.

    A symbolic link at `path` is replaced, not followed. A failure leaves the old file as it was. A file that is not
    `durable` may be lost or empty after a power cut, and costs no sync. Only its owner may read a `private` one.
    """
    with replacement_of(path, durable=durable, mode=_PRIVATE_MODE if private else _COMMON_MODE) as temporary:
        write_all(temporary.descriptor, data)


@dataclass(frozen=True)
class TemporaryFile:
    """A new file beside the one that it replaces; locked as long as this process uses it (see `file_locks`)."""

    path: Path
    descriptor: int


@contextmanager
def replacement_of(path: Path, *, durable: bool = True, mode: int = _COMMON_MODE) -> Iterator[TemporaryFile]:
    """Give a new file that replaces the one at `path`, in one step, when the block has written it. Raises OSError.

    If the block or a later step fails, the old file stays as it was. Until then the new one has the name
    `.<name>.<random>.new`; what a killed process leaves is removed by `remove_temporary_files`.
    """
    temporary = _create_temporary(path, mode)
    try:
        try:
            yield temporary
            if durable:
                os.fsync(temporary.descriptor)
            temporary.path.replace(path)
        except BaseException:
            discard(temporary.path)
            raise
    finally:
        os.close(temporary.descriptor)
    if durable:
        sync_folder(path.parent)


def _create_temporary(path: Path, mode: int) -> TemporaryFile:
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
        descriptor = os.open(temporary, _NEW_FILE, mode)
        if try_lock(descriptor, temporary, SHARED):
            return TemporaryFile(temporary, descriptor)
        os.close(descriptor)  # removed in the moment before it was locked


def remove_temporary_files(path: Path) -> None:
    """Remove the files that killed processes left when they replaced `path`; never one that is being written."""
    for temporary in path.parent.glob(f".{path.name}.*.new"):
        with locked_if_unused(temporary) as is_unused:
            if is_unused:
                discard(temporary)


def discard(path: Path) -> None:
    """Remove a file, a link, or a folder with everything in it, if it exists; a failure is logged and not raised.

    For what a failed step has left: the failure to be reported is that of the step. What stays is removed later, by
    the next run or by a person. No symbolic link is followed.
    """
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        _log.warning("cannot remove %s, which is of no use any more: %s", path, error.strerror or error)


def create_file(path: Path, data: bytes, *, durable: bool = False, private: bool = False) -> None:
    """Write a new file, and sync its content if it is to be `durable`; a failure leaves none. Raises OSError.

    Only its owner may read a `private` one.
    """
    descriptor = os.open(path, _NEW_FILE, _PRIVATE_MODE if private else _COMMON_MODE)
    try:
        write_all(descriptor, data)
        if durable:
            os.fsync(descriptor)
    except BaseException:
        discard(path)
        raise
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of the data: after a short write, continue where it stopped."""
    remaining = memoryview(data)
    while remaining:
        remaining = remaining[os.write(descriptor, remaining) :]


def sync(path: Path) -> None:
    """Make one file, or the names in one folder, durable. Raises OSError, also for a symbolic link."""
    _sync(path, os.O_NOFOLLOW)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable; a symbolic link to a folder is followed. Raises OSError."""
    _sync(folder, os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def free_name(path: Path, same_as: Path | None = None) -> Path:
    """Return `path` if nothing has that name, or the first free one with "-2", "-3", ... appended.

    A file that has the same bytes as `same_as` counts as free: a crash before an earlier copy was used leaves one.
    """
    name = path
    for count in range(2, 1000):
        if not os.path.lexists(name):
            break
        if same_as is not None and name.is_file() and filecmp.cmp(name, same_as, shallow=False):
            break
        name = path.with_name(f"{path.name}-{count}")
    return name


def path_exists(path: Path) -> bool:
    """Return True if anything has this path, also a broken link."""
    return os.path.lexists(path)
