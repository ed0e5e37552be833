"""Linux calls that Python does not have: syncfs, sync_file_range, renameat2 and prctl."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

NOREPLACE = 1
EXCHANGE = 2
_AT_FDCWD = -100
_SYNC_FILE_RANGE_WRITE = 2
_PR_SET_PDEATHSIG = 1
_NOT_HERE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
_LOST = (errno.EIO, errno.ENOSPC, errno.EDQUOT)
_REPORTS_ERRORS = (5, 8)
"""The kernel from which on syncfs reports write errors (man 2 syncfs); before, it cannot be trusted."""


def sync_file_system(descriptor: int) -> bool:
    """Make everything on a descriptor's file system durable; False where that is not possible in one call.

    Raises OSError for any error of writing there since the descriptor was opened, or since it was last told.
    """
    call = _function("syncfs")
    if call is None or _kernel() < _REPORTS_ERRORS:
        return False
    return _call(call, descriptor)


def begin_write_back(descriptor: int, start: int, size: int) -> None:
    """Have the disk begin to write a range of a file; it is not durable by that, and hardly ever waits.

    Raises OSError when the disk is full or broken; a system that has no such call, or forbids it, does without.
    """
    call = _function("sync_file_range")
    if call is None:
        return
    try:
        _call(call, descriptor, ctypes.c_int64(start), ctypes.c_int64(size), ctypes.c_uint(_SYNC_FILE_RANGE_WRITE))
    except OSError as error:
        if error.errno in _LOST:
            raise


def die_with(parent: int) -> None:
    """Have the kernel kill this process with its parent; end at once when that is another one by now."""
    call = _function("prctl")
    if call is not None:
        _call(call, _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def rename(old: Path, new: Path, flag: int) -> bool:
    """Rename with NOREPLACE or EXCHANGE; False where this file system or kernel cannot. Raises OSError."""
    call = _function("renameat2")
    if call is None:
        return False
    return _call(call, _AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), ctypes.c_uint(flag))


def _call(call: Callable[..., int], *arguments: object) -> bool:
    if call(*arguments) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_HERE:
        return False
    raise OSError(number, os.strerror(number))


@cache
def _function(name: str) -> Any | None:
    if platform.system() != "Linux":
        return None
    return getattr(ctypes.CDLL(None, use_errno=True), name, None)


@cache
def _kernel() -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", platform.release())[:2])


def is_there(path: Path) -> bool:
    """Tell whether anything stands under a name, a broken link included."""
    return os.path.lexists(path)
