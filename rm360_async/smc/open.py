"""Open an HDF5 file, or explain why it is not one."""

from __future__ import annotations

import io
import os
import re
import stat
from pathlib import Path

import h5py

from rm360_async.domain.errors import Cause, Fault
from rm360_async.smc.errors import H5, HDF5_ERRORS, hdf5_message
from rm360_async.system.os_errors import os_fault
from rm360_async.system.sparse_file import SparseFile, SparseReader

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_WEB_PAGE_STARTS = (b"<!doctype", b"<html", b"<?xml", b"<head")
_TRUNCATED = re.compile(r"truncated file: eof = (\d+), sblock->base_addr = (\d+), stored_eof = (\d+)")
_DOWNLOAD_AGAIN = "download it again"


def open_descriptor(path: Path) -> int:
    """Open a regular file for reading; return the descriptor. Fault UNREADABLE for anything else."""
    try:
        # O_NONBLOCK: opening a pipe of that name would block before its type is known
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise Fault(Cause.UNREADABLE, f"{path} does not exist", "check the path") from None
    except OSError as error:
        raise os_fault(error, "open", path, "check its permissions", Cause.UNREADABLE) from error
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise Fault(Cause.UNREADABLE, f"{path} is {kind}, not an .smc", "give the path of an .smc file")
    return descriptor


def open_hdf5(path: Path, descriptor: int, sparse: SparseFile | None = None) -> H5:
    """Return the open `h5py.File`; Fault UNREADABLE if it is not a readable HDF5 file."""
    size = os.fstat(descriptor).st_size
    start = os.pread(descriptor, 4096, 0)
    if size == 0:
        raise Fault(Cause.UNREADABLE, f"{path.name} is empty (0 bytes)", _DOWNLOAD_AGAIN)
    if _signature_offset(descriptor, size) is None:
        raise Fault(Cause.UNREADABLE, f"{path.name} {_describe_start(start)}", _DOWNLOAD_AGAIN)
    try:
        if sparse is not None:
            return h5py.File(SparseReader(sparse), "r")
        if was_left_open(descriptor):  # HDF5 refuses its path, and reads it as a stream like a sparse file
            return h5py.File(io.FileIO(descriptor, closefd=False), "r")
        # no file locking: the file is only read, and some network file systems refuse locks
        return h5py.File(path, "r", locking=False)
    except HDF5_ERRORS as error:
        raise Fault(Cause.UNREADABLE, f"{path.name} {_describe_error(error, size)}", _DOWNLOAD_AGAIN) from error


def was_left_open(descriptor: int) -> bool:
    """Return True if the process that wrote the file ended without closing it: its consistency flags are still set.

    They are byte 11 of the superblock of version 3 (HDF5 File Format Specification, II.A): 1 written to, 4 SWMR.
    What that process had not written any more is absent; what is there can be read as in any other file.
    """
    offset = _signature_offset(descriptor, os.fstat(descriptor).st_size)
    superblock = os.pread(descriptor, 12, offset) if offset is not None else b""
    return len(superblock) == 12 and superblock[8] == 3 and bool(superblock[11] & (1 | 4))


def _signature_offset(descriptor: int, size: int) -> int | None:
    """Return where the HDF5 signature is: at 0, 512, 1024, 2048 ..., as the format allows; None if it is not there."""
    offset = 0
    while offset < min(size, 2**20):
        if os.pread(descriptor, len(_SIGNATURE), offset) == _SIGNATURE:
            return offset
        offset = offset * 2 or 512
    return None


def _describe_start(start: bytes) -> str:
    text = start.lstrip()[:14]
    if text.lower().startswith(_WEB_PAGE_STARTS):
        return f"begins with {text.decode('ascii', 'replace')!r}: a web page, not an .smc"
    if not any(start):
        return "begins with zeros only: its content never arrived"
    if _SIGNATURE.startswith(start[:8]) and len(start) < len(_SIGNATURE):
        return f"is cut short: it has {len(start)} bytes"
    return f"begins with {start[:8].hex(' ')}: not an .smc (no HDF5 signature)"


def _describe_error(error: BaseException, size: int) -> str:
    if match := _TRUNCATED.search(str(error)):
        return f"is cut short: it has {size} bytes of {int(match[2]) + int(match[3])}"
    return f"cannot be read as HDF5: {hdf5_message(error)}"
