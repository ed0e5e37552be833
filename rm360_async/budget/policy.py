"""Which lease is granted: a decision without I/O, from one snapshot of the queue and the disks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from rm360_async.budget.disk import Space
from rm360_async.budget.ticket_queue import Ticket
from rm360_async.domain.formatting import size_text

_NO_DEVICE = -1
"""The device of a shortage that no disk has."""


class Lack(Enum):
    """What a lease waits for."""

    TURN = "turn"
    STAGING = "staging space"
    SPACE = "storage space"
    FILES = "the same files"
    INODES = "inodes"


@dataclass(frozen=True)
class Shortage:
    """Why a lease is not granted now; `str()` is the message for people.

    `lacking` is how many bytes (or inodes) would have to become free. `orphans` are files in temp_dir that belong to no
    live lease, waiting or granted, with the bytes that each takes. `stuck` means that no granted lease is left whose
    end would free space: something else has to.
    """

    lack: Lack
    message: str
    device: int
    lacking: int = 0
    orphans: tuple[tuple[Path, int], ...] = ()
    stuck: bool = False

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class BudgetLimits:
    """The most that temp_dir may hold, and what stays free on each file system."""

    max_temp_bytes: int
    min_free_bytes: int
    min_free_files: int


@dataclass(frozen=True)
class QueueSnapshot:
    """The queue and the disks at one moment: live tickets by number, and the files in temp_dir with their bytes.

    `temp` is the file system of temp_dir, `outputs` those of the tickets' output folders.
    """

    tickets: tuple[Ticket, ...]
    files: Mapping[str, int]
    temp_dir: Path
    temp: Space
    outputs: Mapping[str, Space]
    limits: BudgetLimits


@dataclass(frozen=True)
class _Waiting:
    """A ticket further ahead in the queue, and what it waits for; without a shortage it is about to be granted."""

    name: str
    shortage: Shortage | None


def grant_or_shortage(number: int, snapshot: QueueSnapshot) -> Shortage | None:
    """Return why the waiting ticket with that number is not granted now; None if it is.

    First come, first served: no ticket is granted before an earlier one, unless it `may_pass` it.
    """
    usage, ahead = _Usage(snapshot), list[_Waiting]()
    for ticket in snapshot.tickets:
        if ticket.granted:
            continue
        blocker = next((waiting for waiting in ahead if not may_pass(ticket, waiting.shortage, usage)), None)
        shortage = None if blocker is not None else usage.shortage(ticket)
        if ticket.number == number:
            if blocker is not None:
                return Shortage(Lack.TURN, f"Waiting for storage behind {blocker.name}", snapshot.temp.device)
            return shortage
        if blocker is None:
            ahead.append(_Waiting(ticket.name, shortage))
    raise KeyError(number)


def may_pass(later: Ticket, shortage: Shortage | None, usage: _Usage) -> bool:
    """Return True if a later ticket may be granted before an earlier one, which has that shortage."""
    if shortage is None:  # the earlier one is about to be granted
        return False
    if shortage.lack is Lack.FILES:  # it waits for another instance that has its files, not for space
        return True
    if shortage.device not in usage.devices(later):  # it waits for a disk that the later one does not use
        return True
    # Parts fill the budget and no lease is left to end; the owner of such a part clears it when it goes first.
    return shortage.lack is Lack.STAGING and shortage.stuck and usage.spooled[later.number] > 0


def remaining_shortage(number: int, snapshot: QueueSnapshot) -> Shortage | None:
    """Return why a granted lease cannot write now what it has still to write; None if it can.

    Leases go in their order, so that of several that a full disk has stopped the first can continue as soon as
    there is space for it alone.
    """
    lease = next(ticket for ticket in snapshot.tickets if ticket.number == number)
    return next(_Usage(snapshot).disk_shortages(lease), None)


class _Usage:
    """One snapshot, added up: which ticket has spooled how much, and what belongs to none."""

    def __init__(self, snapshot: QueueSnapshot) -> None:
        self.snapshot, self.granted = snapshot, [ticket for ticket in snapshot.tickets if ticket.granted]
        owners = {path: ticket.number for ticket in snapshot.tickets for path in ticket.spool_paths}
        self.spooled = dict.fromkeys((ticket.number for ticket in snapshot.tickets), 0)
        self.orphans: dict[str, int] = {}
        for path, size in snapshot.files.items():
            owner = _owner(path, owners)
            if owner is None:
                self.orphans[path] = size
            else:
                self.spooled[owner] += size

    def devices(self, ticket: Ticket) -> set[int]:
        return {self.snapshot.temp.device, self.snapshot.outputs[ticket.output_dir].device}

    def shortage(self, ticket: Ticket) -> Shortage | None:
        return self._file_shortage(ticket) or self._staging_shortage(ticket) or next(self.disk_shortages(ticket), None)

    def _file_shortage(self, ticket: Ticket) -> Shortage | None:
        """Two runs with ledgers of their own may share a temp_dir and download one file: only one may at a time."""
        paths = set(ticket.spool_paths)
        holder = next((lease for lease in self.granted if paths & set(lease.spool_paths)), None)
        if holder is None:
            return None
        return Shortage(Lack.FILES, f"Waiting for another run to finish {holder.name}", _NO_DEVICE)

    def _staging_shortage(self, ticket: Ticket) -> Shortage | None:
        """Compare with `max_temp_bytes`. A lease whose bytes are all there already adds nothing, so it is granted."""
        needed = max(ticket.staging_bytes, self.spooled[ticket.number])
        leased = sum(max(lease.staging_bytes, self.spooled[lease.number]) for lease in self.granted)
        others = [other for other in self.snapshot.tickets if not other.granted and other.number != ticket.number]
        unleased = sum(self.orphans.values()) + sum(self.spooled[other.number] for other in others)
        lacking = leased + unleased + needed - self.snapshot.limits.max_temp_bytes
        if lacking <= 0 or ticket.staging_bytes <= self.spooled[ticket.number]:
            return None
        return self._staging_message(needed, leased + unleased, unleased, lacking)

    def _staging_message(self, needed: int, taken: int, unleased: int, lacking: int) -> Shortage:
        limit, stuck = self.snapshot.limits.max_temp_bytes, not self.granted
        left = size_text(max(0, limit - taken))
        message = (
            f"Insufficient staging space: {left} of {size_text(limit)} left, {size_text(needed)} required; waiting"
        )
        if stuck:
            message += (
                f"; {size_text(unleased)} in {self.snapshot.temp_dir} belong to no running job:"
                " remove what is not needed, or raise limits.max_temp_size_gb"
            )
        return Shortage(Lack.STAGING, message, self.snapshot.temp.device, lacking, self._orphans(), stuck)

    def _orphans(self) -> tuple[tuple[Path, int], ...]:
        return tuple((Path(path), size) for path, size in sorted(self.orphans.items()))

    def disk_shortages(self, ticket: Ticket) -> Iterator[Shortage]:
        """Yield what the file systems lack for a ticket and the granted leases before it."""
        before = [lease for lease in self.granted if not ticket.granted or lease.number < ticket.number]
        temp, output = self.snapshot.temp, self.snapshot.outputs[ticket.output_dir]
        disks = {temp.device: (temp, str(self.snapshot.temp_dir))}
        disks.setdefault(output.device, (output, ticket.output_dir))
        for space, folder in disks.values():
            yield from self._byte_shortage(ticket, before, space, folder)
            yield from self._inode_shortage(ticket, before, space, folder)

    def _byte_shortage(self, ticket: Ticket, before: list[Ticket], space: Space, folder: str) -> Iterator[Shortage]:
        needed = self._bytes_owed(ticket, space.device)
        floor = self.snapshot.limits.min_free_bytes
        required = floor + needed + sum(self._bytes_owed(lease, space.device) for lease in before)
        lacking = required - space.free_bytes
        if needed and lacking > 0:
            message = (
                f"Insufficient storage space: {size_text(space.free_bytes)} free, {size_text(required)} required"
                f" in {folder} ({size_text(floor)} of them stay free); waiting"
            )
            yield Shortage(Lack.SPACE, message, space.device, lacking, self._orphans(), not before)

    def _inode_shortage(self, ticket: Ticket, before: list[Ticket], space: Space, folder: str) -> Iterator[Shortage]:
        needed = self._files_owed(ticket, space.device)
        required = self.snapshot.limits.min_free_files + needed
        required += sum(self._files_owed(lease, space.device) for lease in before)
        if needed and space.free_files is not None and space.free_files < required:
            message = f"Insufficient inodes: {space.free_files:,} free, {required:,} required in {folder}; waiting"
            yield Shortage(Lack.INODES, message, space.device, required - space.free_files)

    def _bytes_owed(self, ticket: Ticket, device: int) -> int:
        """Return the bytes that a lease will still write on a device."""
        owed = 0
        if device == self.snapshot.temp.device:
            owed += max(0, ticket.staging_bytes - self.spooled[ticket.number])
        if device == self.snapshot.outputs[ticket.output_dir].device:
            owed += max(0, ticket.output_bytes - ticket.written_bytes)
        return owed

    def _files_owed(self, ticket: Ticket, device: int) -> int:
        """Return the number of output files that a lease will still make on a device; spool files are too few."""
        if device != self.snapshot.outputs[ticket.output_dir].device:
            return 0
        return max(0, ticket.output_files - ticket.written_files)


def _owner(path: str, owners: Mapping[str, int]) -> int | None:
    """Return the number of the ticket that has this path, or a folder above it, among its spool paths."""
    while path:
        if path in owners:
            return owners[path]
        path = path.rpartition("/")[0]
    return None
