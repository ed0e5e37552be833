"""Who may have a lease: a decision without I/O, from one look at the queue and the disks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from rm360_async.budget.disk import Space
from rm360_async.budget.ticket_queue import Ticket
from rm360_async.domain.formatting import size_text

_NO_DEVICE = -1
"""The device of a shortage that is of no disk."""


class Lack(Enum):
    """What a lease waits for."""

    TURN = "turn"
    STAGING = "staging space"
    SPACE = "storage space"
    FILES = "the same files"
    INODES = "inodes"


@dataclass(frozen=True)
class Shortage:
    """Why a lease is not granted now; `str()` is the sentence for people.

    `lacking` is how many bytes (or inodes) would have to come free. `leftovers` are files in temp_dir that no
    live lease, waiting or granted, lays claim to, with the bytes that each takes. When `stuck`, no lease is out
    that could make room: nothing of ours will end, so somebody has to.
    """

    lack: Lack
    sentence: str
    device: int
    lacking: int = 0
    leftovers: tuple[tuple[Path, int], ...] = ()
    stuck: bool = False

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True)
class BudgetLimits:
    """The most that staging may take, and what stays free on each file system."""

    max_temp_bytes: int
    min_free_bytes: int
    min_free_files: int


@dataclass(frozen=True)
class QueueSnapshot:
    """The queue and the disks at one moment: live tickets by number, and what lies in temp_dir."""

    tickets: tuple[Ticket, ...]
    files: Mapping[str, int]
    temp_dir: Path
    temp: Space
    outputs: Mapping[str, Space]
    limits: BudgetLimits


def grant_or_shortage(number: int, view: QueueSnapshot) -> Shortage | None:
    """Return why the waiting ticket of that number is not granted now; None when it is.

    Nobody overtakes an earlier one that is about to go, or that waits for something he would use as well. Three
    may be passed: one that waits for a disk of its own (another instance's output_dir) or for files that
    another has in hand, and one that nothing of ours will ever let go because parts fill the budget, by the
    owner of such a part that fits.
    """
    books, ahead = _Usage(view), list[_Ahead]()
    for ticket in view.tickets:
        if ticket.granted:
            continue
        held = next((one for one in ahead if one.holds_up(ticket, books)), None)
        lack = None if held is not None else books.shortage(ticket)
        if ticket.number == number:
            turn = held and Shortage(Lack.TURN, f"Waiting for storage behind {held.name}", view.temp.device)
            return turn or lack
        if held is None:
            ahead.append(_Ahead(ticket.name, lack))
    raise KeyError(number)


def remaining_shortage(number: int, view: QueueSnapshot) -> Shortage | None:
    """Return why a granted lease cannot write what it has still to write now; None when it can.

    Leases go in their order, so that of several that a full disk has stopped the first can go on as soon as
    there is room for it alone.
    """
    lease = next(ticket for ticket in view.tickets if ticket.number == number)
    return next(_Usage(view).of_disks(lease), None)


@dataclass(frozen=True)
class _Ahead:
    """One that waits in front; without a lack it is about to go."""

    name: str
    lack: Shortage | None

    def holds_up(self, later: Ticket, books: _Usage) -> bool:
        if self.lack is None:
            return True
        jammed = self.lack.lack is Lack.STAGING and self.lack.stuck
        if jammed and books.staged[later.number]:
            return False
        return self.lack.device in books.devices(later)


class _Usage:
    """One view, added up."""

    def __init__(self, view: QueueSnapshot) -> None:
        self.view, self.out = view, [ticket for ticket in view.tickets if ticket.granted]
        owners = {path: ticket.number for ticket in view.tickets for path in ticket.staged}
        self.staged = dict.fromkeys((ticket.number for ticket in view.tickets), 0)
        self.leftovers: dict[str, int] = {}
        for path, taken in view.files.items():
            owner = _owner(path, owners)
            if owner is None:
                self.leftovers[path] = taken
            else:
                self.staged[owner] += taken

    def devices(self, ticket: Ticket) -> set[int]:
        return {self.view.temp.device, self.view.outputs[ticket.output_dir].device}

    def shortage(self, ticket: Ticket) -> Shortage | None:
        return self._of_files(ticket) or self._of_staging(ticket) or next(self.of_disks(ticket), None)

    def _of_files(self, ticket: Ticket) -> Shortage | None:
        """Two runs with ledgers of their own may share a temp_dir, and want one file: each must have it alone."""
        holder = next((lease for lease in self.out if set(lease.staged) & set(ticket.staged)), None)
        if holder is None:
            return None
        return Shortage(Lack.FILES, f"Waiting until another run has done {holder.name}", _NO_DEVICE)

    def _of_staging(self, ticket: Ticket) -> Shortage | None:
        """Compare with the budget. A lease whose bytes are all there already adds nothing, so it may go."""
        own = max(ticket.staging_bytes, self.staged[ticket.number])
        held = sum(max(lease.staging_bytes, self.staged[lease.number]) for lease in self.out)
        unleased = [other for other in self.view.tickets if not other.granted and other.number != ticket.number]
        loose = sum(self.leftovers.values()) + sum(self.staged[other.number] for other in unleased)
        budget = self.view.limits.max_temp_bytes
        if held + loose + own <= budget or ticket.staging_bytes <= self.staged[ticket.number]:
            return None
        return self._staging_shortage(own, held + loose, loose)

    def _staging_shortage(self, own: int, taken: int, loose: int) -> Shortage:
        budget, stuck = self.view.limits.max_temp_bytes, not self.out
        left = max(0, budget - taken)
        sentence = (
            f"Insufficient staging space: {size_text(left)} of {size_text(budget)} left,"
            f" {size_text(own)} required; waiting"
        )
        if stuck:
            sentence += (
                f"; {size_text(loose)} in {self.view.temp_dir} belong to no running work:"
                " remove what is not wanted, or raise limits.max_temp_size_gb"
            )
        lacking = own + taken - budget
        return Shortage(Lack.STAGING, sentence, self.view.temp.device, lacking, self._left(), stuck)

    def _left(self) -> tuple[tuple[Path, int], ...]:
        return tuple((Path(path), taken) for path, taken in sorted(self.leftovers.items()))

    def of_disks(self, ticket: Ticket) -> Iterator[Shortage]:
        before = [lease for lease in self.out if not ticket.granted or lease.number < ticket.number]
        places = {self.view.temp.device: (self.view.temp, str(self.view.temp_dir))}
        output = self.view.outputs[ticket.output_dir]
        places.setdefault(output.device, (output, ticket.output_dir))
        for device, (space, place) in places.items():
            yield from self._of_bytes(ticket, before, device, space, place)
            yield from self._of_inodes(ticket, before, device, space, place)

    def _of_bytes(
        self, ticket: Ticket, before: list[Ticket], device: int, space: Space, place: str
    ) -> Iterator[Shortage]:
        need = self._bytes_owed(ticket, device)
        floor = self.view.limits.min_free_bytes
        required = floor + need + sum(self._bytes_owed(lease, device) for lease in before)
        if need and space.free_bytes < required:
            sentence = (
                f"Insufficient storage space: {size_text(space.free_bytes)} free, {size_text(required)} required"
                f" in {place} ({size_text(floor)} of them stay free); waiting"
            )
            yield Shortage(Lack.SPACE, sentence, device, required - space.free_bytes, self._left(), not before)

    def _of_inodes(
        self, ticket: Ticket, before: list[Ticket], device: int, space: Space, place: str
    ) -> Iterator[Shortage]:
        need = self._files_owed(ticket, device)
        required = self.view.limits.min_free_files + need
        required += sum(self._files_owed(lease, device) for lease in before)
        if need and space.free_files is not None and space.free_files < required:
            sentence = f"Insufficient inodes: {space.free_files:,} free, {required:,} required in {place}; waiting"
            yield Shortage(Lack.INODES, sentence, device, required - space.free_files)

    def _bytes_owed(self, ticket: Ticket, device: int) -> int:
        """Return what a lease will still write on a device."""
        owed = 0
        if device == self.view.temp.device:
            owed += max(0, ticket.staging_bytes - self.staged[ticket.number])
        if device == self.view.outputs[ticket.output_dir].device:
            owed += max(0, ticket.output_bytes - ticket.written_bytes)
        return owed

    def _files_owed(self, ticket: Ticket, device: int) -> int:
        """Return how many output files a lease will still make on a device; staged ones are too few to count."""
        here = device == self.view.outputs[ticket.output_dir].device
        return max(0, ticket.output_files - ticket.written_files) if here else 0


def _owner(path: str, owners: Mapping[str, int]) -> int | None:
    """Return the number of the ticket whose staged path this is, or lies below."""
    while path:
        if path in owners:
            return owners[path]
        path = path.rpartition("/")[0]
    return None
