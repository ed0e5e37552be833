"""A failed write by its cause.

The errno alone does not tell a full disk: libraries raise OSError without one, so after any failed write the
file system is asked as well.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rm360_async.domain.errors import Cause, Fault

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE)
_NOT_A_FOLDER = (errno.ELOOP, errno.ENOTDIR, errno.EEXIST)
_ALMOST_NOTHING = 2**20
"""Bytes: fewer free than this after a failed write mean that the disk was full."""


def write_fault(error: OSError, path: Path) -> Fault:
    """Return the Fault of a failed write below `path`."""
    words = error.strerror or str(error)
    if error.errno in _FULL or _is_full(path):
        return Fault(Cause.DISK_FULL, f"no space left for {path}", "free some space")
    if error.errno in _FORBIDDEN:
        return Fault(Cause.NOT_WRITABLE, f"{path} cannot be written: {words}", "check its owner, mode and disk")
    if error.errno in _NOT_A_FOLDER:
        return Fault(Cause.IN_THE_WAY, f"something is in the way at {path}: {words}", "move it away")
    return Fault(Cause.UNKNOWN, f"writing {path} failed: {words}")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError of the block into the Fault of a failed write below `path`."""
    try:
        yield
    except OSError as error:
        raise write_fault(error, path) from error


def _is_full(path: Path) -> bool:
    """Tell whether the nearest existing folder's file system has no bytes or no inodes left for us."""
    for folder in (path, *path.parents):
        try:
            disk = os.statvfs(folder)
        except OSError:
            continue
        no_inodes = disk.f_files > 0 and disk.f_favail == 0
        return disk.f_bavail * disk.f_frsize < _ALMOST_NOTHING or no_inodes
    return False
