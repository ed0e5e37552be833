"""The lease of bytes of a performance in hand: how much it asks for, what is said while it waits, who makes room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anyio
from anyio.to_thread import run_sync

from rm360_async.budget import POLL_SECONDS, Budget, Lack, Lease, Shortage
from rm360_async.domain.errors import Cause, Fault
from rm360_async.download import spool
from rm360_async.pipeline.job import Job
from rm360_async.system.log import logger

log = logger(__name__)
_BLOCK = 4096
"""Files take whole blocks of the disk; this is the size of one nearly everywhere."""
FIRST_RATIO = 1.1
"""Output bytes per input byte before anything was learned: verbatim images, plus wav and npz of the audio."""
_BYTES_PER_FILE = 50_000
"""A careful guess of the mean size of an extracted file: small masks beside images of 280 KB."""


class Leasing:
    """Takes the leases of the performances in hand from one budget."""

    def __init__(self, budget: Budget, temp_dir: Path) -> None:
        self.budget, self.temp_dir = budget, temp_dir

    async def lease(self, work: Job, output_bytes: int) -> None:
        """Take a lease of the work's staging bytes, or keep the one that it has if that is for the same and enough.

        `output_bytes` is what will be written, as far as can be known. Raises Fault(TOO_LARGE) for what
        can never be leased. One that is kept waits for room like one before an extraction.
        """
        wholes = [spool.whole_path(self.temp_dir, work.performance, *each) for each in work.sources.items()]
        places = [path for whole in wholes for path in spool.places(whole)]
        if (
            isinstance(work.lease, Lease)
            and work.lease.staged == places
            and work.lease.entry.ticket.staging_bytes >= self._staging(work)
        ):
            await self.room(work)
            return
        if work.lease is not None:
            work.lease.give_back()
            work.lease = None
        work.lease = await self._take(work, places, output_bytes)

    def _staging(self, work: Job) -> int:
        """Return the bytes that the work's files take on the disk, in whole blocks."""
        blocks = -(-work.staging_bytes // _BLOCK) + len(work.sources) - 1
        return min(blocks * _BLOCK, self.budget.limits.max_temp_bytes)

    async def _take(self, work: Job, places: list[Path], output_bytes: int) -> Lease:
        size = work.staging_bytes
        reason = self.budget.impossible(size)
        if reason is not None:
            raise Fault(Cause.TOO_LARGE, f"{work.performance} {reason}", "raise or lower that limit, or add disk")
        return await self.budget.lease(
            str(work.performance),
            self._staging(work),
            output_bytes,
            output_bytes // _BYTES_PER_FILE,
            staged=places,
            on_wait=_telling(work),
        )

    async def room(self, work: Job) -> None:
        """Wait until what the lease has still to write fits on the disks."""
        if isinstance(work.lease, Lease):
            await self.budget.room(work.lease, on_wait=_telling(work))

    async def until_low(self) -> str:
        """Wait until strangers have brought the free space of temp_dir clearly below its floor; return the sentence."""
        while True:
            sentence = await run_sync(self.budget.low)
            if sentence is not None:
                return sentence
            await anyio.sleep(POLL_SECONDS)


def _telling(work: Job) -> Callable[[Shortage | None], None]:
    """Return what keeps the work's note and tells the log when the waiting begins, changes its kind, and ends."""
    told: tuple[Lack, bool] | None = None

    def on_wait(shortage: Shortage | None) -> None:
        nonlocal told
        work.note = str(shortage or "")
        if shortage is None:
            log.info("room again, going on", performance=str(work.performance))
        elif (shortage.lack, shortage.stuck) != told:
            told = shortage.lack, shortage.stuck
            log.warning(str(shortage), performance=str(work.performance))

    return on_wait


def make_room(shortage: Shortage) -> bool:
    """Give up staged files that nobody has in hand, the oldest first, as many as it takes; True when it was enough.

    Nothing else would ever make that room. A part never arrived whole, so it is removed and no byte is lost that
    the remote does not have; a whole file is set aside (which frees the budget, not the disk), and is taken
    back when its turn comes. When all of it would not be enough, nothing is touched.
    """
    ours = [(path, taken) for path, taken in shortage.leftovers if spool.is_ours(path)]
    if shortage.lack is not Lack.STAGING:
        ours = [(path, taken) for path, taken in ours if spool.is_part(path)]
    if sum(taken for _, taken in ours) < shortage.lacking:
        return False
    freed = 0
    for path, taken in sorted(ours, key=lambda each: (not spool.is_part(each[0]), each[0].stat().st_mtime)):
        if freed < shortage.lacking:
            _give_up(path)
            freed += taken
    return True


def _give_up(path: Path) -> None:
    if spool.is_part(path):
        log.warning("removed a part to make room; it is fetched again from its start", file=path.name)
        spool.remove(path)
    else:
        log.warning("set aside a staged file to make room", file=path.name)
        spool.quarantine(path)
