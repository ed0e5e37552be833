"""Copy a range of one file to another without the bytes passing through Python."""

from __future__ import annotations

import errno
import os

_CANNOT = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM)
"""copy_file_range across file systems, on old kernels, or filtered by a container: read and write instead."""
_CHUNK = 2**20


def copy_range(source: int, offset: int, target: int, size: int) -> None:
    """Append `size` bytes of `source` from `offset` on to `target`; EOFError when the source ends before."""
    done = _by_kernel(source, offset, target, size)
    while done < size:
        data = os.pread(source, min(_CHUNK, size - done), offset + done)
        if not data:
            raise EOFError("the source file has become shorter while it was copied")
        write_all(target, data)
        done += len(data)


def write_all(target: int, data: bytes | memoryview) -> None:
    """Write all of the data; a short write goes on where it stopped."""
    left = memoryview(data)
    while left:
        left = left[os.write(target, left) :]


def _by_kernel(source: int, offset: int, target: int, size: int) -> int:
    """Return how many bytes the kernel copied; fewer than `size` when it cannot go on."""
    done = 0
    if not hasattr(os, "copy_file_range"):
        return done
    while done < size:
        try:
            count = os.copy_file_range(source, target, size - done, offset_src=offset + done)
        except OSError as error:
            if error.errno in _CANNOT:
                return done
            raise
        if count == 0:
            return done
        done += count
    return done
