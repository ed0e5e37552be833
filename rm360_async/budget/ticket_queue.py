"""The queue of all instances that share a temp_dir: one small file for each lease, held by a lock.

A ticket is `<temp_dir>/.leases/<number>.lease`: JSON, padded, locked (flock) for as long as its owner wants
or has the lease. The kernel drops the lock when the owner dies, so a ticket that another process can lock belongs to
a dead one and is removed. Everything but dropping a ticket happens under one guard, an flock on `guard` in the
same folder; so numbers are handed out once, and no half-written ticket is ever read.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rm360_async.domain.errors import Cause, Fault
from rm360_async.system.fault_points import reach
from rm360_async.system.os_errors import os_errors

BUSY_SECONDS = 0.02
"""Seconds until the guard of the queue is tried again."""
FOLDER = ".leases"
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, 524)
"""Answers of file systems without locks; 524 is the kernel's own ENOTSUPP, which autofs and some FUSE let through."""
_PADDED_BYTES = 1024
_SPOOL_PATHS_KEY = "staged"
"""Key of the spool paths in a ticket's file; the other keys are the names of the fields."""
_OPEN_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


class Busy(Exception):
    """Another instance holds the guard of the queue at this moment; try again."""


@dataclass(frozen=True)
class Ticket:
    """One lease that is wanted (waiting) or held (granted); sizes in bytes, `number` gives the order.

    `spool_paths` are the paths in temp_dir at which its staging bytes lie or will lie.
    """

    name: str
    staging_bytes: int
    output_bytes: int
    output_files: int
    spool_paths: tuple[str, ...]
    output_dir: str
    number: int = 0
    granted: bool = False
    written_bytes: int = 0
    """Of `output_bytes`, what has been written already."""
    written_files: int = 0

    def to_json(self) -> bytes:
        """Return the ticket's file: padded, so that a change never needs another block."""
        values = asdict(self)
        values[_SPOOL_PATHS_KEY] = values.pop("spool_paths")
        text = json.dumps(values).encode()
        return text.ljust(-(-len(text) // _PADDED_BYTES) * _PADDED_BYTES)

    @classmethod
    def from_json(cls, data: bytes) -> Ticket | None:
        """Return the ticket in a file; None if another version wrote it."""
        try:
            values: dict[str, Any] = json.loads(data)
            return cls(spool_paths=tuple(values.pop(_SPOOL_PATHS_KEY)), **values)
        except (ValueError, TypeError, KeyError, AttributeError):
            return None


@dataclass
class QueuedTicket:
    """A ticket of this process: its state now, and the locked file once it has one."""

    ticket: Ticket
    descriptor: int | None = None
    dropped: bool = False


class TicketQueue:
    """The shared queue, seen from this process. Mutable state: `_own`, which `_thread_lock` guards."""

    def __init__(self, temp_dir: Path) -> None:
        self.folder = temp_dir / FOLDER
        self._thread_lock = threading.Lock()
        self._own: dict[int, QueuedTicket] = {}

    @contextmanager
    def guarded(self, wait: bool = True) -> Iterator[None]:
        """Hold the guard. Raises Busy if another process has it (or, unless `wait`, another thread)."""
        if not self._thread_lock.acquire(blocking=wait):
            raise Busy
        try:
            with _ticket_errors(self.folder):
                guard = self._open_guard()
                try:
                    yield
                finally:
                    os.close(guard)
        finally:
            self._thread_lock.release()

    def add(self, queued: QueuedTicket) -> None:
        """Put a new ticket at the end of the queue (guarded); nothing happens if it is in it, or dropped."""
        if queued.descriptor is not None or queued.dropped:
            return
        number = max([0, *self._own, *(int(path.stem) for path in self._files())]) + 1
        queued.ticket = replace(queued.ticket, number=number)
        queued.descriptor = os.open(self._path(number), _OPEN_FLAGS, 0o666)
        self._own[number] = queued
        fcntl.flock(queued.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            self.write(queued)
        except OSError:  # a full disk: the others cannot read an empty ticket, so another is made later
            self._remove(queued)
            raise
        reach("ticket added")

    def grant(self, queued: QueuedTicket) -> None:
        """Make a waiting ticket a lease (guarded)."""
        granted = replace(queued.ticket, granted=True)
        if queued.descriptor is not None:
            self._overwrite(queued.descriptor, granted)
        queued.ticket = granted
        reach("lease granted")

    def write(self, queued: QueuedTicket) -> None:
        """Write the ticket as it is now (guarded)."""
        if queued.descriptor is not None:
            self._overwrite(queued.descriptor, queued.ticket)

    def drop(self, queued: QueuedTicket) -> None:
        """Take a ticket out, waiting or granted; never raises, and needs no guard: without its lock it is dead."""
        with self._thread_lock:
            queued.dropped = True
            self._remove(queued)
        reach("ticket dropped")

    def _remove(self, queued: QueuedTicket) -> None:
        descriptor, queued.descriptor = queued.descriptor, None
        if descriptor is None:
            return
        self._own.pop(queued.ticket.number, None)
        with suppress(OSError):
            self._path(queued.ticket.number).unlink()
        with suppress(OSError):
            os.close(descriptor)

    def _overwrite(self, descriptor: int, ticket: Ticket) -> None:
        data = ticket.to_json()
        os.pwrite(descriptor, data, 0)
        os.ftruncate(descriptor, len(data))

    def live_tickets(self) -> list[Ticket]:
        """Return all live tickets in order, and remove those of dead processes (guarded).

        Those of this process come from memory, so they count even if something has cleared the folder.
        """
        tickets = {number: queued.ticket for number, queued in self._own.items()}
        for path in self._files():
            ticket = None if int(path.stem) in tickets else _read_live(path)
            if ticket is not None:
                tickets[ticket.number] = ticket
        return [tickets[number] for number in sorted(tickets)]

    def _files(self) -> list[Path]:
        return [path for path in self.folder.glob("*.lease") if path.stem.isdecimal()]

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:012d}.lease"

    def _open_guard(self) -> int:
        """Return the locked guard; it is opened again if the folder was cleared in between."""
        path = self.folder / "guard"
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, _OPEN_FLAGS, 0o666)
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


@contextmanager
def leased_names(temp_dir: Path) -> Iterator[frozenset[str]]:
    """Give the names of the files in temp_dir that live leases are for; in the block none is added.

    Raises Busy if another process has the guard, and Fault (NOT_WRITABLE) if the queue cannot be kept.
    """
    queue = TicketQueue(temp_dir)
    with queue.guarded():
        paths = [path for ticket in queue.live_tickets() for path in ticket.spool_paths]
        yield frozenset(Path(path).name for path in paths)


@contextmanager
def leased_by_others(temp_dir: Path, own: Iterable[Path]) -> Iterator[frozenset[str]]:
    """Give the names of the files in temp_dir that live leases are for, but for one with the paths `own`.

    Waits for the guard, so it is for a disk thread; in the block no lease is added. Raises Fault (NOT_WRITABLE).
    """
    own_names = frozenset(path.name for path in own)
    with ExitStack() as stack:
        while True:
            try:
                names = stack.enter_context(leased_names(temp_dir))
                break
            except Busy:
                time.sleep(BUSY_SECONDS)
        yield names - own_names


def _read_live(path: Path) -> Ticket | None:
    """Return the ticket of a live process, None for that of another version; remove that of a dead process."""
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
