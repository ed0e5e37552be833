"""The queue of all instances that share a temp_dir: one small file for each lease, held by a lock.

A ticket is `<temp_dir>/.leases/<number>.lease`: JSON, padded, locked (flock) for as long as its owner wants
or has the lease. The kernel drops the lock when the owner dies, so a ticket that can be locked by another
is nobody's and is removed. Everything but giving back happens under one guard, an flock on `guard` in the
same folder; so numbers are handed out once, and no half-written ticket is ever read.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rm360_async.domain.errors import Cause, Fault
from rm360_async.system.fault_points import reach
from rm360_async.system.os_errors import os_errors

FOLDER = ".leases"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
_PADDED = 1024
_NEW = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class Busy(Exception):
    """Another instance is looking at the queue at this moment; ask again."""


@dataclass(frozen=True)
class Ticket:
    """One lease that is wanted (waiting) or had (granted); sizes in bytes, `number` gives the order.

    `staged` are the paths in temp_dir at which its staged bytes lie or will lie.
    """

    name: str
    staging_bytes: int
    output_bytes: int
    output_files: int
    staged: tuple[str, ...]
    output_dir: str
    number: int = 0
    granted: bool = False
    written_bytes: int = 0
    """Of `output_bytes`, what has been written already."""
    written_files: int = 0

    def to_json(self) -> bytes:
        """Return the ticket's file: padded, so that a change never needs another block."""
        text = json.dumps(asdict(self)).encode()
        return text.ljust(-(-len(text) // _PADDED) * _PADDED)

    @classmethod
    def from_json(cls, data: bytes) -> Ticket | None:
        """Return the ticket in a file; None when another version wrote it."""
        try:
            value: dict[str, Any] = json.loads(data)
            return cls(**{**value, "staged": tuple(value["staged"])})
        except (ValueError, TypeError, KeyError):
            return None


@dataclass
class QueuedTicket:
    """A ticket of this process: its state now, and the locked file once it has one."""

    ticket: Ticket
    descriptor: int | None = None
    dropped: bool = False


class Tickets:
    """The shared queue, seen from this process. Mutable state: `_ours`, behind `_threads`."""

    def __init__(self, temp_dir: Path) -> None:
        self.folder = temp_dir / FOLDER
        self._threads = threading.Lock()
        self._ours: dict[int, QueuedTicket] = {}

    @contextmanager
    def guarded(self, wait: bool = True) -> Iterator[None]:
        """Hold the guard. Raises Busy when another process has it (or, unless `wait`, another thread)."""
        if not self._threads.acquire(blocking=wait):
            raise Busy
        try:
            with _ticket_errors(self.folder):
                guard = self._guard()
                try:
                    yield
                finally:
                    os.close(guard)
        finally:
            self._threads.release()

    def add(self, entry: QueuedTicket) -> None:
        """Put a new ticket at the end of the queue (guarded); nothing happens when it is in it, or dropped."""
        if entry.descriptor is not None or entry.dropped:
            return
        number = max([0, *self._ours, *(int(path.stem) for path in self._files())]) + 1
        entry.ticket = replace(entry.ticket, number=number)
        entry.descriptor = os.open(self._path(number), _NEW, 0o666)
        self._ours[number] = entry
        fcntl.flock(entry.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            self.note(entry)
        except OSError:  # a full disk: an empty ticket says nothing to the others, so it is made anew later
            self._leave(entry)
            raise
        reach("ticket added")

    def grant(self, entry: QueuedTicket) -> None:
        """Make a waiting ticket a lease (guarded)."""
        granted = replace(entry.ticket, granted=True)
        if entry.descriptor is not None:
            self._write(entry.descriptor, granted)
        entry.ticket = granted
        reach("lease granted")

    def note(self, entry: QueuedTicket) -> None:
        """Write the ticket as it is now (guarded)."""
        if entry.descriptor is not None:
            self._write(entry.descriptor, entry.ticket)

    def drop(self, entry: QueuedTicket) -> None:
        """Give a ticket back, waiting or granted; never raises, and needs no guard: its lock says it all."""
        with self._threads:
            entry.dropped = True
            self._leave(entry)
        reach("ticket dropped")

    def _leave(self, entry: QueuedTicket) -> None:
        descriptor, entry.descriptor = entry.descriptor, None
        if descriptor is None:
            return
        self._ours.pop(entry.ticket.number, None)
        with suppress(OSError):
            self._path(entry.ticket.number).unlink()
        with suppress(OSError):
            os.close(descriptor)

    def _write(self, descriptor: int, ticket: Ticket) -> None:
        data = ticket.to_json()
        os.pwrite(descriptor, data, 0)
        os.ftruncate(descriptor, len(data))

    def alive(self) -> list[Ticket]:
        """Return all live tickets in order, and remove those of the dead (guarded).

        Ours come from memory, so they count even when somebody cleared the folder.
        """
        found = {number: entry.ticket for number, entry in self._ours.items()}
        for path in self._files():
            ticket = None if int(path.stem) in found else _read_live(path)
            if ticket is not None:
                found[ticket.number] = ticket
        return [found[number] for number in sorted(found)]

    def _files(self) -> list[Path]:
        return [path for path in self.folder.glob("*.lease") if path.stem.isdecimal()]

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:012d}.lease"

    def _guard(self) -> int:
        """Return the locked guard; it is opened anew when the folder was cleared in between."""
        path = self.folder / "guard"
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, _NEW, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.stat().st_ino == os.fstat(descriptor).st_ino:
                    return descriptor
            except BlockingIOError:
                os.close(descriptor)
                raise Busy from None
            except FileNotFoundError:
                pass
            except OSError:
                os.close(descriptor)
                raise
            os.close(descriptor)


def _read_live(path: Path) -> Ticket | None:
    """Return the ticket of a living owner; a dead one's is removed."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return Ticket.from_json(os.pread(descriptor, 2**20, 0))
    else:
        path.unlink(missing_ok=True)
        return None
    finally:
        os.close(descriptor)


@contextmanager
def _ticket_errors(folder: Path) -> Iterator[None]:
    """Raise an OSError of the block as a Fault."""
    with os_errors("keep leases in", folder, "make storage.temp_dir a writable folder", Cause.NOT_WRITABLE):
        try:
            yield
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            message = f"cannot lock files in {folder}: {error.strerror}"
            raise Fault(Cause.NOT_WRITABLE, message, "put storage.temp_dir on a local disk") from error
