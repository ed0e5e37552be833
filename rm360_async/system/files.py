"""Files that appear in one step, durable names, and names that are still free."""

from __future__ import annotations

import filecmp
import os
from pathlib import Path

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def write_atomically(path: Path, data: bytes) -> None:
    """Replace the file at `path` by one with this content, in one step and durably. Raises OSError.

    A symbolic link at `path` is replaced, not followed. A failure leaves the old file as it was.
    """
    put_in_place(write_temporary(path, data), path)


def write_temporary(path: Path, data: bytes) -> Path:
    """Write the content for `path` durably to a file beside it, for `put_in_place`; return that file's path.

    Its name `.<name>.<pid>.new` belongs to this process, so a leftover is removed first. Raises OSError.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    temporary.unlink(missing_ok=True)
    create_file(temporary, data, durable=True)
    return temporary


def put_in_place(temporary: Path, path: Path) -> None:
    """Rename what `write_temporary` wrote to its final name, durably. Raises OSError."""
    try:
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise
    sync_folder(path.parent)


def create_file(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Write a new file, and sync its content if it is to be `durable`; a failure leaves none. Raises OSError."""
    descriptor = os.open(path, _NEW_FILE, 0o666)
    try:
        write_all(descriptor, data)
        if durable:
            os.fsync(descriptor)
    except BaseException:
        path.unlink()
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
