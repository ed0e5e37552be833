"""The budget: takes leases in order, waits for space, and releases them.

Mutable state: `_changed` and `_unshared`, touched only in the event loop; the queue itself is in `TicketQueue`.
Whatever asks the disk or the queue's locks runs on a disk thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType

import anyio

from rm360_async.budget.disk import Disk, SystemDisk
from rm360_async.budget.policy import (
    BudgetLimits,
    Lack,
    QueueSnapshot,
    Shortage,
    grant_or_shortage,
    remaining_shortage,
)
from rm360_async.budget.ticket_queue import BUSY_SECONDS, Busy, QueuedTicket, Ticket, TicketQueue
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.formatting import size_text
from rm360_async.system.changed import Changed
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.fault_points import reach

POLL_SECONDS = 2.0
"""Seconds between two checks of a waiting lease; a lease released in this process is noticed at once."""

MIN_FREE_FILES = 1000
_PROGRESS_STEPS = 50
"""A lease's progress is shared with the other instances so many times while its output is written."""
_FLOOR_TOLERANCE = 1 / 64
"""The share of the floor by which free space may fall below it: logs and the ledger must not stop a nearly done job."""

OnWait = Callable[[Shortage | None], None]
EvictOrphans = Callable[[Shortage], bool]


class Lease:
    """Bytes of disk that belong to one job until `release`; also an async context manager."""

    def __init__(self, budget: Budget, queued: QueuedTicket) -> None:
        self._budget, self.queued = budget, queued
        self._shared_bytes = 0

    @property
    def ticket(self) -> Ticket:
        """Return what was leased, and what of it has been written."""
        return self.queued.ticket

    @property
    def spool_paths(self) -> list[Path]:
        """Return the paths in temp_dir that it is for."""
        return [Path(path) for path in self.ticket.spool_paths]

    def record_written(self, output_bytes: int, output_files: int) -> None:
        """Record how much of the output is on disk by now, so that it is not counted twice.

        This process counts with it at once; the other instances get it from `Budget.share_progress`.
        """
        self.queued.ticket = replace(self.ticket, written_bytes=output_bytes, written_files=output_files)
        if abs(output_bytes - self._shared_bytes) >= max(1, self.ticket.output_bytes // _PROGRESS_STEPS):
            self._shared_bytes = output_bytes
            self._budget.note_progress(self.queued)

    async def release(self) -> None:
        """Return the bytes to the budget, also if the task is cancelled; nothing happens the second time."""
        if not self.queued.dropped:
            await self._budget.release(self.queued)

    async def __aenter__(self) -> Lease:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.release()


class Budget:
    """Leases of bytes on the file systems of temp_dir and output_dir, shared by all instances on temp_dir.

    Files in `excluded_dirs`, folders in temp_dir, are kept there on purpose: they take free space, but nothing of
    `max_temp_bytes`. `evict_orphans` is called when a lease is stuck behind files that belong to no lease; it may
    remove some of them, and returns whether that was enough. It runs in a thread, and no instance grants a lease
    meanwhile.
    """

    def __init__(
        self,
        temp_dir: Path,
        output_dir: Path,
        max_temp_bytes: int,
        min_free_bytes: int,
        *,
        min_free_files: int = MIN_FREE_FILES,
        excluded_dirs: Iterable[Path] = (),
        evict_orphans: EvictOrphans = lambda _: False,
        disk: Disk | None = None,
        poll_seconds: float = POLL_SECONDS,
        pause: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self.temp_dir, self.output_dir = temp_dir, output_dir
        self.limits = BudgetLimits(max_temp_bytes, min_free_bytes, min_free_files)
        self.poll_seconds, self._pause = poll_seconds, pause
        self._excluded_dirs, self._evict_orphans = frozenset(excluded_dirs), evict_orphans
        self._disk = disk or SystemDisk()
        self._tickets = TicketQueue(temp_dir)
        self._changed = Changed()
        self._progressed = Changed()
        self._unshared: dict[int, QueuedTicket] = {}

    def total_bytes(self) -> int:
        """Return the size of temp_dir's disk. Raises OSError."""
        return self._disk.space(self.temp_dir).total_bytes

    def explain_too_large(self, staging_bytes: int, total: int | None = None) -> str | None:
        """Return why a lease of that size can never be granted; None if it can. `total`: see `total_bytes`."""
        needed = f"needs {size_text(staging_bytes)} in temp_dir"
        if staging_bytes > self.limits.max_temp_bytes:
            return f"{needed}, and limits.max_temp_size_gb allows {size_text(self.limits.max_temp_bytes)} in all"
        total = self.total_bytes() if total is None else total
        if staging_bytes + self.limits.min_free_bytes > total:
            floor = size_text(self.limits.min_free_bytes)
            return f"{needed}, but its disk has {size_text(total)} and limits.min_free_space_gb keeps {floor} free"
        return None

    def below_floor(self) -> str | None:
        """Return a message if temp_dir's disk has clearly less free space than the floor; else None.

        Leases are granted above the floor, so other programs have filled the disk.
        """
        try:
            free, floor = self._disk.space(self.temp_dir).free_bytes, self.limits.min_free_bytes
        except OSError:  # the next write there fails too, and its message says what was being done
            return None
        if free >= floor * (1 - _FLOOR_TOLERANCE):
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
        spool_paths: Iterable[Path] = (),
        on_wait: OnWait | None = None,
    ) -> Lease:
        """Return a lease, after all that were asked for before; waits for space.

        `spool_paths` are the paths in temp_dir where its staging bytes will lie (part and whole file); what lies
        there already is not counted twice. `on_wait` is called with the shortage when the wait begins and
        whenever its message changes, and with None when it ends. Cancelled while waiting, it leaves
        no trace. Raises Fault (NOT_WRITABLE) if the queue in temp_dir cannot be kept.
        """
        paths = tuple(str(path) for path in spool_paths)
        ticket = Ticket(name, staging_bytes, output_bytes, output_files, paths, str(self.output_dir))
        queued = QueuedTicket(ticket)
        try:
            await self._wait_until(partial(self._check, queued, self._grant), on_wait)
        except BaseException:
            await self.release(queued)
            raise
        self._changed.notify()
        return Lease(self, queued)

    async def wait_for_space(self, lease: Lease, *, on_wait: OnWait | None = None) -> None:
        """Wait until what a lease has still to write fits above the floor: other programs write to the disks too."""
        await self._wait_until(partial(self._check, lease.queued, self._remaining_shortage), on_wait)

    async def release(self, queued: QueuedTicket) -> None:
        """Take a ticket out of the queue, and let the waiting ones check again."""
        with anyio.CancelScope(shield=True):
            await on_disk_thread(self._tickets.drop, queued)
        self._changed.notify()

    def note_progress(self, queued: QueuedTicket) -> None:
        """Note a ticket whose progress the other instances do not know yet."""
        self._unshared[queued.ticket.number] = queued
        self._progressed.notify()

    async def share_progress(self) -> None:
        """Write the progress of leases for the other instances, until cancelled.

        Without it the others wait longer than they must, and nothing is lost.
        """
        while True:
            progressed = self._progressed.next()
            unshared, self._unshared = list(self._unshared.values()), {}
            for queued in unshared:
                await on_disk_thread(self._write_progress, queued)
            await progressed.wait()

    def _write_progress(self, queued: QueuedTicket) -> None:
        with suppress(Busy, Fault), self._tickets.guarded(wait=False):  # busy: its next progress comes soon
            self._tickets.write(queued)

    def remove_dead_tickets(self) -> None:
        """Remove the tickets that killed instances left: a run that needs no lease would never meet them."""
        with suppress(Busy, Fault), self._tickets.guarded(wait=False):  # an instance that is busy there removes them
            self._tickets.live_tickets()

    async def _wait_until(self, check: Callable[[], Shortage | None], on_wait: OnWait | None) -> None:
        """Repeat a check, in a thread, until it finds no shortage; report each new message, and None at the end."""
        last_message = ""
        while True:
            change = self._changed.next()  # taken before the check, so that no change is missed
            try:
                shortage = await on_disk_thread(check)
            except Busy:
                await anyio.sleep(BUSY_SECONDS)
                continue
            if shortage is None:
                break
            if str(shortage) != last_message:
                last_message = str(shortage)
                if on_wait is not None:
                    on_wait(shortage)
                reach("waiting for space")
            await self._wait_for_change(change)
        if last_message and on_wait is not None:
            on_wait(None)

    def _check(self, queued: QueuedTicket, decide: Callable[[QueuedTicket], Shortage | None]) -> Shortage | None:
        """Decide about a ticket while no other instance does; None for one that was dropped meanwhile."""
        try:
            with self._tickets.guarded():
                return None if queued.dropped else decide(queued)
        except Fault as fault:
            if fault.cause is not Cause.DISK_FULL:
                raise
            return self._full_disk_shortage(queued.ticket)

    def _grant(self, queued: QueuedTicket) -> Shortage | None:
        """Queue the ticket if it is new, and grant it if nothing is lacking."""
        self._tickets.add(queued)
        shortage = grant_or_shortage(queued.ticket.number, self._snapshot())
        if shortage is not None and shortage.stuck and self._evict_orphans(shortage):
            shortage = grant_or_shortage(queued.ticket.number, self._snapshot())
        if shortage is None:
            self._tickets.grant(queued)
        return shortage

    def _remaining_shortage(self, queued: QueuedTicket) -> Shortage | None:
        return remaining_shortage(queued.ticket.number, self._snapshot())

    def _full_disk_shortage(self, ticket: Ticket) -> Shortage:
        """Return the shortage of a disk so full that not even the ticket could be written."""
        space = self._disk.space(self.temp_dir)
        required = self.limits.min_free_bytes + ticket.staging_bytes + ticket.output_bytes
        message = (
            f"Insufficient storage space: {size_text(space.free_bytes)} free, {size_text(required)} required"
            f" in {self.temp_dir}; waiting"
        )
        return Shortage(Lack.SPACE, message, space.device, required - space.free_bytes)

    def _snapshot(self) -> QueueSnapshot:
        tickets = tuple(self._tickets.live_tickets())
        output_dirs = {ticket.output_dir for ticket in tickets}
        skipped = {self._tickets.folder, *self._excluded_dirs, *map(Path, output_dirs)}
        return QueueSnapshot(
            tickets=tickets,
            files=self._disk.files(self.temp_dir, skipped),
            temp_dir=self.temp_dir,
            temp=self._disk.space(self.temp_dir),
            outputs={output_dir: self._disk.space(Path(output_dir)) for output_dir in output_dirs},
            limits=self.limits,
        )

    async def _wait_for_change(self, change: anyio.Event) -> None:
        """Wait until a lease of this process has changed, or until it is time to check those of the others."""
        async with anyio.create_task_group() as group:

            async def end_after_pause() -> None:
                await self._pause(self.poll_seconds)
                group.cancel_scope.cancel()

            group.start_soon(end_after_pause)
            await change.wait()
            group.cancel_scope.cancel()
