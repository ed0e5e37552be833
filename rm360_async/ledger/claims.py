"""Which process works on what: locks that the kernel drops when their holder dies, however it dies.

Theory of operation. One lock file lies beside the ledger and holds nothing; byte n of it is the claim on the
performance whose row number is n, and higher bytes are claims of running instances. The locks are Linux
open-file-description locks: closing another descriptor of the same file does not drop them (as POSIX record
locks would be), and they vanish with the last descriptor, so a kill -9 frees them at once and no pid or
heartbeat has to be believed. The descriptor is close-on-exec: child processes do not keep the claims.
A plain `fork` without exec would; the service never does that.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from rm360_async.domain.errors import Cause
from rm360_async.system.fault_points import reach
from rm360_async.system.os_errors import os_errors

CREATION = 0
"""Held while the ledger file is created or migrated."""
RUNS = 1 << 40
"""RUNS + n is held by the instance with run number n, as long as it lives."""
MANIFEST = 1 << 41
"""Held while MANIFEST.csv is written from the ledger."""

# struct flock of 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid, padded to whole words.
_FLOCK = struct.Struct("hhqqi4x")


class Claims:
    """The claims of this process; numbers are row numbers of the ledger, or RUNS + a run's number.

    A context manager. `read_only` is for readers such as `status`: nothing is created, nothing can be claimed. Every
    method asks the file system, which may be one of the network, so a task calls it on a disk thread; several threads
    may call at once.
    Raises Fault(NOT_WRITABLE) if the lock file cannot be created or the file system has no locks.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._held: set[int] = set()
        self._held_lock = threading.Lock()
        self._descriptor: int | None = None
        hint = "let this user write there, or set storage.manifest_path"
        with os_errors("open the lock file", path, hint, Cause.NOT_WRITABLE):
            self._descriptor = _open(path, read_only=read_only)
        try:
            with os_errors("lock", path, "put storage.manifest_path on a local disk", Cause.NOT_WRITABLE):
                self._is_locked_elsewhere(CREATION)  # fails here, in one line, if the file system has no locks
        except BaseException:
            self.close()
            raise

    def claim(self, number: int) -> bool:
        """Claim a number for this process; return False if any process has it, this one included."""
        with self._held_lock:  # the kernel would give this process a lock that it has already once more
            if number in self._held:
                return False
            self._held.add(number)
        if not self._lock(fcntl.F_OFD_SETLK, number):
            self._held.discard(number)
            return False
        reach("claim taken")
        return True

    def wait_for(self, number: int) -> None:
        """Claim a number, waiting until its holder releases it or dies; blocks the thread."""
        self._lock(fcntl.F_OFD_SETLKW, number)
        self._held.add(number)

    def release(self, number: int) -> None:
        """Release a claim; nothing happens if this process does not have it."""
        if number in self._held:
            try:
                self._call(fcntl.F_OFD_SETLK, fcntl.F_UNLCK, number, 1)
            finally:
                self._held.discard(number)
            reach("claim released")

    def is_claimed(self, number: int) -> bool:
        """Return True if a live process, this one included, has claimed the number."""
        return number in self._held or self._is_locked_elsewhere(number)

    def claimed_among(self, numbers: Iterable[int]) -> set[int]:
        """Return those of the numbers that a live process, this one included, has claimed."""
        return {number for number in numbers if self.is_claimed(number)}

    def is_used_by_others(self) -> bool:
        """Return True if any other process holds any claim."""
        return self._is_locked_elsewhere(0, length=0)  # 0: to the end of the file, and beyond it

    def close(self) -> None:
        """Release all claims."""
        self._held.clear()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _lock(self, command: int, number: int) -> bool:
        """Lock the number's byte; return False if another open file has it."""
        try:
            self._call(command, fcntl.F_WRLCK, number, 1)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def _is_locked_elsewhere(self, start: int, length: int = 1) -> bool:
        if self._descriptor is None:
            return False
        kind: int = _FLOCK.unpack(self._call(fcntl.F_OFD_GETLK, fcntl.F_WRLCK, start, length))[0]
        return kind != fcntl.F_UNLCK

    def _call(self, command: int, kind: int, start: int, length: int) -> bytes:
        assert self._descriptor is not None, "the claims are closed"
        return fcntl.fcntl(self._descriptor, command, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))

    def __enter__(self) -> Claims:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _open(path: Path, *, read_only: bool) -> int | None:
    """Return a descriptor of the lock file, created unless `read_only`; None if there is none: nothing is claimed."""
    flags = os.O_RDONLY if read_only else os.O_RDWR | os.O_CREAT
    try:
        return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except FileNotFoundError:
        if not read_only:
            raise
        return None
