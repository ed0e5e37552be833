"""Who works on what: locks that the kernel drops when their holder dies, however it dies.

Theory of operation. One lock file lies beside the ledger and holds nothing; byte n of it is the claim on the
performance whose row number is n, and higher bytes are claims of running instances. The locks are Linux
open-file-description locks: closing another descriptor of the same file does not drop them (as POSIX record
locks would be), and they vanish with the last descriptor, so a kill -9 frees them at once and no pid or
heartbeat has to be believed. The descriptor is close-on-exec: programs that we start do not keep our claims.
A plain `fork` without exec would; the service never does that.
Where the kernel has no such locks, one flock'd file per number in a folder does the same.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
from pathlib import Path
from types import TracebackType
from typing import Protocol

from rm360_async.domain.errors import Cause
from rm360_async.system.fault_points import reach
from rm360_async.system.os_errors import os_errors

CREATION = 0
"""Held while the ledger file is made."""
RUNS = 1 << 40
"""RUNS + n is held by the instance with run number n, as long as it lives."""
MANIFEST = 1 << 41
"""Held while MANIFEST.csv is written from the ledger."""

# struct flock of 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid, padded to whole words.
_FLOCK = struct.Struct("hhqqi4x")
_NEW = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_SET, _SET_AND_WAIT, _GET = (getattr(fcntl, name, -1) for name in ("F_OFD_SETLK", "F_OFD_SETLKW", "F_OFD_GETLK"))


class Locks(Protocol):
    """A set of numbered locks, shared between processes."""

    def lock(self, number: int, *, wait: bool = False) -> bool:
        """Take a lock; False when another holder has it and we do not wait."""

    def unlock(self, number: int) -> None:
        """Give a lock back."""

    def held(self, number: int | None) -> bool:
        """Tell whether another holder has the lock, or any lock for None."""

    def close(self) -> None:
        """Give back everything."""


class ByteLocks:
    """Open-file-description locks on single bytes of one file."""

    supported = _SET != -1 and sys.platform == "linux" and sys.maxsize > 2**32

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._file: int | None
        try:
            flags = os.O_RDONLY if read_only else os.O_RDWR | os.O_CREAT
            self._file = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        except FileNotFoundError:
            if not read_only:
                raise
            self._file = None  # no lock file, so nobody holds anything

    def lock(self, number: int, *, wait: bool = False) -> bool:
        """Take the byte's lock; False when another open file has it."""
        try:
            self._call(_SET_AND_WAIT if wait else _SET, fcntl.F_WRLCK, number, 1)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def unlock(self, number: int) -> None:
        """Give the byte's lock back."""
        self._call(_SET, fcntl.F_UNLCK, number, 1)

    def held(self, number: int | None) -> bool:
        """Tell whether another open file has the byte locked, or any byte for None."""
        if self._file is None:
            return False
        start, length = (0, 0) if number is None else (number, 1)
        kind: int = _FLOCK.unpack(self._call(_GET, fcntl.F_WRLCK, start, length))[0]
        return kind != fcntl.F_UNLCK

    def close(self) -> None:
        """Close the file, which drops its locks."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _call(self, command: int, kind: int, start: int, length: int) -> bytes:
        assert self._file is not None, "the claims are closed"
        return fcntl.fcntl(self._file, command, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))


class FileLocks:
    """One flock'd file per number in a folder: for kernels without open-file-description locks."""

    supported = True

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._folder = path.with_name(path.name + ".d")
        self._files: dict[int, int] = {}
        if not read_only:
            self._folder.mkdir(exist_ok=True)

    def lock(self, number: int, *, wait: bool = False) -> bool:
        """Take the lock of the number's file; False when another open file has it."""
        file = os.open(self._folder / str(number), _NEW, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(file)
            return False
        self._files[number] = file
        return True

    def unlock(self, number: int) -> None:
        """Close the number's file; it is never unlinked, since another process may be about to lock it."""
        os.close(self._files.pop(number))

    def held(self, number: int | None) -> bool:
        """Tell whether another open file has the number's file locked, or any file for None."""
        if number is not None:
            return self._is_locked(self._folder / str(number))
        return self._folder.is_dir() and any(
            self._is_locked(path) for path in self._folder.iterdir() if int(path.name) not in self._files
        )

    def close(self) -> None:
        """Close all files, which drops their locks."""
        while self._files:
            os.close(self._files.popitem()[1])

    def _is_locked(self, path: Path) -> bool:
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
        return False


class Claims:
    """The claims of this process; numbers are row numbers of the ledger, or RUNS + a run's number.

    A context manager. `read_only` is for readers such as `status`: nothing is created, nothing can be claimed.
    Raises Fault(NOT_WRITABLE) where the lock file cannot be made.
    """

    def __init__(
        self, path: Path, *, read_only: bool = False, locks: type[ByteLocks | FileLocks] | None = None
    ) -> None:
        kind = locks or (ByteLocks if ByteLocks.supported else FileLocks)
        hint = "let this user write there, or set storage.manifest_path"
        with os_errors("open the lock file", path, hint, Cause.NOT_WRITABLE):
            self._locks: Locks = kind(path, read_only=read_only)
            self._locks.held(CREATION)  # fails here, with one sentence, where the file system has no locks
        self._held: set[int] = set()

    def claim(self, number: int) -> bool:
        """Claim a number for this process; False when anyone has it, this process included."""
        if number in self._held or not self._locks.lock(number):
            return False
        self._held.add(number)
        reach("claim taken")
        return True

    def wait_for(self, number: int) -> None:
        """Claim a number, waiting until its holder gives it back or dies; blocks the thread."""
        self._locks.lock(number, wait=True)
        self._held.add(number)

    def release(self, number: int) -> None:
        """Give a claim back; nothing happens when it is not ours."""
        if number in self._held:
            self._held.discard(number)
            self._locks.unlock(number)
            reach("claim released")

    def is_claimed(self, number: int) -> bool:
        """Tell whether a live process, this one included, has the number claimed."""
        return number in self._held or self._locks.held(number)

    def others_at_work(self) -> bool:
        """Tell whether any other process holds any claim."""
        return self._locks.held(None)

    def close(self) -> None:
        """Give back all claims."""
        self._held.clear()
        self._locks.close()

    def __enter__(self) -> Claims:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
