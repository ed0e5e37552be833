"""The budget: takes leases in order, waits for room, and gives them back.

Mutable state: `_changed` and `waiting`, both touched only in the event loop; the queue itself is in `Tickets`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import anyio
from anyio.to_thread import run_sync

from rm360_async.budget.disk import Disk, SystemDisk
from rm360_async.budget.policy import (
    BudgetLimits,
    Lack,
    QueueSnapshot,
    Shortage,
    grant_or_shortage,
    remaining_shortage,
)
from rm360_async.budget.ticket_queue import Busy, QueuedTicket, Ticket, Tickets
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.formatting import size_text
from rm360_async.system.changed import Changed
from rm360_async.system.fault_points import reach

POLL_SECONDS = 2.0
"""How often a waiting lease looks again; a lease given back in this process is noticed at once."""

BUSY_SECONDS = 0.02
MIN_FREE_FILES = 1000
_NOTED_STEPS = 50
_LITTLE = 1 / 64

OnWait = Callable[[Shortage | None], None]
MakeRoom = Callable[[Shortage], bool]


class Lease:
    """Bytes of disk that are ours until `give_back`; also a context manager."""

    def __init__(self, budget: Budget, entry: QueuedTicket) -> None:
        self._budget, self.entry = budget, entry
        self._noted = 0

    @property
    def name(self) -> str:
        """Return what the lease is for."""
        return self.entry.ticket.name

    @property
    def staged(self) -> list[Path]:
        """Return the paths in temp_dir that it is for."""
        return [Path(path) for path in self.entry.ticket.staged]

    def wrote(self, output_bytes: int, output_files: int) -> None:
        """Tell how much of the output lies on disk by now, so that it is not counted twice."""
        entry = self.entry
        entry.ticket = replace(entry.ticket, written_bytes=output_bytes, written_files=output_files)
        if abs(output_bytes - self._noted) >= max(1, entry.ticket.output_bytes // _NOTED_STEPS):
            self._noted = output_bytes
            self._budget.note(entry)

    def release(self) -> None:
        """Return the bytes to the budget; nothing happens the second time. Call it in the event loop."""
        if not self.entry.dropped:
            self._budget.take_back(self.entry)

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Budget:
    """Leases of bytes on the file systems of temp_dir and output_dir, shared by all instances on temp_dir.

    `aside` are folders in temp_dir that are no staging: what is kept there on purpose takes free space, but
    nothing of `max_temp_bytes`. `make_room` is asked when a lease is stuck behind leftovers; it may give some of
    them up, and tells whether it did. It runs in a thread, and no lease is granted anywhere meanwhile.
    """

    def __init__(
        self,
        temp_dir: Path,
        output_dir: Path,
        max_temp_bytes: int,
        min_free_bytes: int,
        *,
        min_free_files: int = MIN_FREE_FILES,
        aside: Iterable[Path] = (),
        make_room: MakeRoom = lambda _: False,
        disk: Disk | None = None,
        poll_seconds: float = POLL_SECONDS,
        pause: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self.temp_dir, self.output_dir = temp_dir, output_dir
        self._aside = frozenset(aside)
        self.limits = BudgetLimits(max_temp_bytes, min_free_bytes, min_free_files)
        self.waiting: dict[str, str] = {}
        """The sentence of each lease that waits here, by name."""
        self._disk = disk or SystemDisk()
        self._make_room = make_room
        self.poll_seconds, self._pause = poll_seconds, pause
        self._tickets = Tickets(temp_dir)
        self._changed = Changed()

    def impossible(self, staging_bytes: int) -> str | None:
        """Return why a lease of that size can never be granted; None when it can."""
        if staging_bytes > self.limits.max_temp_bytes:
            allowed = size_text(self.limits.max_temp_bytes)
            return f"needs {size_text(staging_bytes)} in temp_dir, and limits.max_temp_size_gb allows {allowed} in all"
        total = self._disk.space(self.temp_dir).total_bytes
        if staging_bytes + self.limits.min_free_bytes > total:
            kept = size_text(self.limits.min_free_bytes)
            return (
                f"needs {size_text(staging_bytes)} in temp_dir, whose disk has {size_text(total)} in all,"
                f" of which limits.min_free_space_gb keeps {kept} free"
            )
        return None

    def low(self) -> str | None:
        """Return the sentence for less free space in temp_dir than the floor, by more than a little; else None.

        What was leased was leased above the floor. A little (logs, the ledger) must not stop what is nearly done.
        """
        try:
            free, floor = self._disk.space(self.temp_dir).free_bytes, self.limits.min_free_bytes
        except OSError:  # whoever writes there meets it too, and can say what it was doing
            return None
        if free >= floor * (1 - _LITTLE):
            return None
        kept = f"{size_text(floor)} are to stay free"
        return f"Insufficient storage space: {size_text(free)} free in {self.temp_dir}, {kept}"

    async def lease(
        self,
        name: str,
        staging_bytes: int,
        output_bytes: int = 0,
        output_files: int = 0,
        *,
        staged: Iterable[Path] = (),
        on_wait: OnWait | None = None,
    ) -> Lease:
        """Return a lease, after all that were asked for before; waits for room.

        `staged` are the paths in temp_dir where its staged bytes will lie (part and whole file; what lies
        there already is not counted twice). `on_wait` is called with the shortage when it begins to wait and
        whenever its sentence changes, and with None when it goes on. Cancelled while waiting, it leaves
        no trace. Raises Fault (NOT_WRITABLE, DISK_FULL) when the queue in temp_dir cannot be kept.
        """
        paths = tuple(str(path) for path in staged)
        entry = QueuedTicket(Ticket(name, staging_bytes, output_bytes, output_files, paths, str(self.output_dir)))
        try:
            await self._until(entry, self._grant, on_wait or (lambda _: None))
        except BaseException:
            self.take_back(entry)
            raise
        self._changed.notify()
        return Lease(self, entry)

    async def room(self, lease: Lease, *, on_wait: OnWait | None = None) -> None:
        """Wait until what a lease has still to write fits above the floor of its disks: strangers write too."""
        await self._until(lease.entry, self._go_on, on_wait or (lambda _: None))

    def sweep(self) -> None:
        """Remove the tickets that killed instances left: a run without anything to lease would never meet them."""
        with suppress(Busy, Fault), self._tickets.guarded(wait=False):  # who is busy there removes them too
            self._tickets.alive()

    def take_back(self, entry: QueuedTicket) -> None:
        """Take a ticket out of the queue and let the others look again."""
        self._tickets.drop(entry)
        self._changed.notify()

    def note(self, entry: QueuedTicket) -> None:
        """Write a ticket's progress for the other instances; a note that cannot be written now is skipped."""
        try:
            with self._tickets.guarded(wait=False):
                self._tickets.note(entry)
        except (Busy, Fault):  # without it the others wait longer than they must, and nothing is lost
            return

    async def _until(
        self, entry: QueuedTicket, look: Callable[[QueuedTicket], Shortage | None], on_wait: OnWait
    ) -> None:
        told = ""
        try:
            while True:
                changed = self._changed.next()  # taken before the look: what moves after it is not missed
                shortage = await self._look(entry, look)
                if shortage is None:
                    break
                if str(shortage) != told:
                    told = self.waiting[entry.ticket.name] = str(shortage)
                    on_wait(shortage)
                    reach("waiting for space")
                await self._next_chance(changed)
        finally:
            self.waiting.pop(entry.ticket.name, None)
        if told:
            on_wait(None)

    async def _look(self, entry: QueuedTicket, look: Callable[[QueuedTicket], Shortage | None]) -> Shortage | None:
        while True:
            try:
                return await run_sync(look, entry)
            except Busy:
                await anyio.sleep(BUSY_SECONDS)
            except Fault as fault:
                if fault.cause is not Cause.DISK_FULL:
                    raise
                return self._no_ticket(entry.ticket)

    def _grant(self, entry: QueuedTicket) -> Shortage | None:
        """Queue the ticket when it is new, and grant it when it may go: in one piece for all instances."""
        with self._tickets.guarded():
            self._tickets.add(entry)
            if entry.dropped:
                return None
            shortage = grant_or_shortage(entry.ticket.number, self._view())
            if shortage is not None and shortage.stuck and self._make_room(shortage):
                shortage = grant_or_shortage(entry.ticket.number, self._view())
            if shortage is None:
                self._tickets.grant(entry)
            return shortage

    def _go_on(self, entry: QueuedTicket) -> Shortage | None:
        with self._tickets.guarded():
            return None if entry.dropped else remaining_shortage(entry.ticket.number, self._view())

    def _no_ticket(self, ticket: Ticket) -> Shortage:
        """Return the shortage of a disk so full that not even the ticket could be written."""
        space = self._disk.space(self.temp_dir)
        required = self.limits.min_free_bytes + ticket.staging_bytes + ticket.output_bytes
        sentence = (
            f"Insufficient storage space: {size_text(space.free_bytes)} free, {size_text(required)} required"
            f" in {self.temp_dir}; waiting"
        )
        return Shortage(Lack.SPACE, sentence, space.device, required - space.free_bytes)

    def _view(self) -> QueueSnapshot:
        tickets = tuple(self._tickets.alive())
        output_dirs = {ticket.output_dir for ticket in tickets}
        skip = {self._tickets.folder, *self._aside, *map(Path, output_dirs)}
        return QueueSnapshot(
            tickets=tickets,
            files=self._disk.files(self.temp_dir, skip),
            temp_dir=self.temp_dir,
            temp=self._disk.space(self.temp_dir),
            outputs={output_dir: self._disk.space(Path(output_dir)) for output_dir in output_dirs},
            limits=self.limits,
        )

    async def _next_chance(self, changed: anyio.Event) -> None:
        """Wait until something moved here, or until it is time to look at the others' doing again."""
        async with anyio.create_task_group() as group:

            async def tick() -> None:
                await self._pause(self.poll_seconds)
                group.cancel_scope.cancel()

            group.start_soon(tick)
            await changed.wait()
            group.cancel_scope.cancel()
