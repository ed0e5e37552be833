"""Linux calls that Python does not have: syncfs, sync_file_range, renameat2 and prctl."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import re
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from rm360_async.domain.errors import BadRequest

NOREPLACE = 1
EXCHANGE = 2
_AT_FDCWD = -100
_SYNC_FILE_RANGE_WRITE = 2
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
_WRITE_ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT)
_MIN_SYNCFS_KERNEL = (5, 8)
"""The first kernel whose syncfs reports write errors (man 2 syncfs); an older one cannot be trusted."""


def require_linux(program: str) -> None:
    """Raise BadRequest on any other system: a run and its child processes need Linux's locks and signals."""
    if platform.system() != "Linux":
        raise BadRequest(f"{program} needs Linux, and this is {platform.system()}; run it on a Linux machine")


def sync_file_system(descriptor: int) -> bool:
    """Make everything on a descriptor's file system durable; return False if that is not possible in one call.

    Raises OSError for a write error since the descriptor was opened, or since it last reported one.
    """
    call = _libc_function("syncfs")
    if call is None or _kernel_version() < _MIN_SYNCFS_KERNEL:
        return False
    return _call(call, descriptor)


def begin_write_back(descriptor: int, start: int, size: int) -> None:
    """Have the disk begin to write a range of a file; hardly ever waits, and does not make the range durable.

    Raises OSError if the disk is full or broken. Does nothing where the call is missing or forbidden.
    """
    call = _libc_function("sync_file_range")
    if call is None:
        return
    try:
        _call(call, descriptor, ctypes.c_int64(start), ctypes.c_int64(size), ctypes.c_uint(_SYNC_FILE_RANGE_WRITE))
    except OSError as error:
        if error.errno in _WRITE_ERRORS:
            raise


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent dies; exit at once if the parent is already another one."""
    call = _libc_function("prctl")
    if call is not None:
        with suppress(OSError):  # where it is forbidden, the work is possible all the same
            _call(call, _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)


def set_process_name(name: str) -> None:
    """Set the name of this process in `ps` and `top`, as far as the kernel keeps it (15 bytes)."""
    call = _libc_function("prctl")
    if call is not None:
        with suppress(OSError):
            _call(call, _PR_SET_NAME, ctypes.c_char_p(name.encode()), 0, 0, 0)


def rename(old: Path, new: Path, flag: int) -> bool:
    """Rename with NOREPLACE or EXCHANGE; return False if this file system or kernel cannot. Raises OSError."""
    call = _libc_function("renameat2")
    if call is None:
        return False
    return _call(call, _AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), ctypes.c_uint(flag))


def rename_without_replacing(old: Path, new: Path) -> None:
    """Rename, or raise FileExistsError if anything has the path `new`. Raises OSError.

    Where the file system cannot do that in one step, it is checked first: a plain rename would silently replace a file
    or an empty folder.
    """
    if rename(old, new, NOREPLACE):
        return
    if os.path.lexists(new):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(new))
    os.rename(old, new)  # noqa: PTH104 - spelled as the system call


def _call(call: Callable[..., int], *arguments: object) -> bool:
    if call(*arguments) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number))


@cache
def _libc_function(name: str) -> Any | None:
    """Return a function of the C library; None for one that it does not have."""
    return getattr(ctypes.CDLL(None, use_errno=True), name, None)


@cache
def _kernel_version() -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", platform.release())[:2])
