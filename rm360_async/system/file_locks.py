"""Locks (flock) that say that a file or a folder is in use; the kernel drops them with the process that has them.

Theory of operation. Whoever writes a temporary file or fills a staging folder has it locked until it has its final
name or is gone. Who removes leftovers, in this process or another, removes only what it could lock exclusively. The
lock belongs to the open file and not to its name, so it stays through a rename, and a `kill -9` ends it. A name is
taken from the disk before its lock: so each side compares, once it has the lock, that the name is still that of the
file which it has locked.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # not Linux: published folders can be read there, and reports of them written
    HAS_LOCKS = False
else:
    HAS_LOCKS = True
SHARED, EXCLUSIVE = 1, 2
"""LOCK_SH and LOCK_EX of flock(2)."""
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF)
"""Answers of file systems that have no such locks."""


def try_lock(descriptor: int, path: Path, kind: int) -> bool:
    """Lock an open file, SHARED by its users or EXCLUSIVE to remove it; return False if another open file prevents it.

    Also False if the file does not have the name `path` any more. On a file system without locks users go on, and
    nothing counts as free to be removed. Raises OSError.
    """
    if not HAS_LOCKS:
        return kind == SHARED
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return kind == SHARED
    return _is_at(descriptor, path)


@contextmanager
def locked_if_unused(path: Path, flags: int = 0) -> Iterator[bool]:
    """Give True if no process uses the file or folder at `path`, which none does then until the block ends.

    It gives False too if there is none, or none that can be opened; `flags` are more flags to open it with.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | flags)
    except OSError:
        yield False
        return
    try:
        yield try_lock(descriptor, path, EXCLUSIVE)
    finally:
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False
