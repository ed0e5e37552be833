"""The page cache: drop a file from it, write everything in it to the disk."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_CACHED_SHARE = 0.05
"""A file counts as dropped when less than this share of it is left in the cache."""


def drop_from_cache(path: Path) -> bool:
    """Have the kernel drop a file from the page cache; return False if it keeps more than a little of it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return _cached_share(descriptor) < _CACHED_SHARE
    finally:
        os.close(descriptor)


def _cached_share(descriptor: int) -> float:
    """Return the share of a file that is in the page cache."""
    size = os.fstat(descriptor).st_size
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    address = libc.mmap(None, size, 1, 1, descriptor, 0)  # PROT_READ, MAP_SHARED; mmap itself reads no page
    pages = (ctypes.c_ubyte * (-(-size // os.sysconf("SC_PAGE_SIZE"))))()
    libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), pages)
    libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(size))
    return sum(page & 1 for page in pages) / len(pages)


def sync_file_system(folder: Path) -> None:
    """Write everything of a folder's file system to its disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        ctypes.CDLL(None).syncfs(descriptor)
    finally:
        os.close(descriptor)
