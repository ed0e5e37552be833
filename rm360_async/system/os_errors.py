"""Errors of the operating system as faults with a cause: the only place that reads an errno for a person.

A full disk or an exhausted quota is always DISK_FULL, wherever it is met. A file that its file system or `ulimit -f`
does not allow is TOO_LARGE: a matter of that file alone, and not of the disk. The errno alone does not tell a full
disk: libraries raise OSError without one, and network file systems answer EIO, so in these cases the file system is
asked.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rm360_async.domain.errors import Answer, Cause, Fault

_FULL = (errno.ENOSPC, errno.EDQUOT)
_PERHAPS_FULL = (None, 0, errno.EIO)
_NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE)
_IN_THE_WAY = (errno.ELOOP, errno.ENOTDIR, errno.EEXIST)
_FULL_BELOW_BYTES = 2**20
"""Less free space than this after a failed write means that the disk was full."""
_HINTS = {
    Cause.NOT_WRITABLE: "check its owner, mode and disk",
    Cause.IN_THE_WAY: "move away what is there",
}


@contextmanager
def os_errors(action: str, path: Path, hint: str = "", cause: Cause | None = None) -> Iterator[None]:
    """Raise an OSError of the block as a Fault: `cannot <action> <path>: <reason>`; see `os_fault`."""
    try:
        yield
    except OSError as error:
        raise os_fault(error, action, path, hint, cause) from error


def os_fault(error: OSError, action: str, path: Path, hint: str = "", cause: Cause | None = None) -> Fault:
    """Return the Fault of an action ("write", "create the folder") that failed on `path`.

    The cause is DISK_FULL for a full disk; else `cause`, or what the errno says: NOT_WRITABLE, IN_THE_WAY or UNKNOWN.
    `hint` says what to do about anything but a full disk; without it the cause's own hint is given.
    """
    if _is_full(error, path):
        return _disk_full(error, f"cannot {action} {path}")
    if error.errno == errno.EFBIG:
        return _too_large(f"cannot {action} {path}")
    if cause is None:
        cause = _cause_of(error)
    return Fault(cause, f"cannot {action} {path}: {error.strerror or error}", hint or _HINTS.get(cause, ""))


def fault_in(error: BaseException) -> Fault | None:
    """Return the fault that an error is, or that a group of errors holds; one that stops the service comes first.

    An OSError is a fault too if the disk was full or if it names a file. Returns None for any other error.
    """
    if isinstance(error, Fault):
        return error
    if isinstance(error, OSError):
        return _unexpected(error)
    inner = [fault_in(each) for each in getattr(error, "exceptions", ())]
    faults = [fault for fault in inner if fault is not None]
    return next((fault for fault in faults if fault.cause.answer is Answer.STOP), faults[0] if faults else None)


def _unexpected(error: OSError) -> Fault | None:
    """Return the fault of an OSError that no `os_errors` met."""
    path = None if error.filename is None else os.fsdecode(error.filename)
    if error.errno in _FULL:
        return _disk_full(error, f"cannot write {path or 'the output'}")
    if error.errno == errno.EFBIG:
        return _too_large(f"cannot write {path or 'the output'}")
    if path is None or error.strerror is None:
        return None
    return Fault(Cause.NOT_WRITABLE, f"{path}: {error.strerror}", "check that it exists, its owner, mode and disk")


def _disk_full(error: OSError, failure: str) -> Fault:
    reason = "disk quota exceeded" if error.errno == errno.EDQUOT else "no space left on the disk"
    return Fault(Cause.DISK_FULL, f"{failure}: {reason}", "free some space")


def _too_large(failure: str) -> Fault:
    hint = "raise `ulimit -f`, or choose a folder on another file system"
    return Fault(Cause.TOO_LARGE, f"{failure}: it is larger than its file system or `ulimit -f` allows", hint)


def _cause_of(error: OSError) -> Cause:
    if error.errno in _NOT_WRITABLE:
        return Cause.NOT_WRITABLE
    return Cause.IN_THE_WAY if error.errno in _IN_THE_WAY else Cause.UNKNOWN


def _is_full(error: OSError, path: Path) -> bool:
    return error.errno in _FULL or (error.errno in _PERHAPS_FULL and _is_disk_full(path))


def _is_disk_full(path: Path) -> bool:
    """Return True if the file system of the nearest existing folder has no bytes or no inodes left for this user."""
    for folder in (path, *path.parents):
        try:
            disk = os.statvfs(folder)
        except OSError:
            continue
        no_inodes = disk.f_files > 0 and disk.f_favail == 0
        return disk.f_bavail * disk.f_frsize < _FULL_BELOW_BYTES or no_inodes
    return False
