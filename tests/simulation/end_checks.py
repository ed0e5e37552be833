"""Checks of the laws about the end of a run, and the list of what was broken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rm360_async.domain.forecast import Capacity, forecast
from rm360_async.domain.names import Performance
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import PerformanceRow
from rm360_async.ledger import Attempt
from rm360_async.store.marker import MARKER
from simulation.expectation_checks import ExpectationChecks
from simulation.laws import AT_REST, LIVENESS

if TYPE_CHECKING:
    from simulation.process import Process

FAILURES = (Stage.FAILED, Stage.DOWNLOAD_FAILED)


class EndChecks(ExpectationChecks):
    """The checks when a run ends."""

    def __init__(self) -> None:
        super().__init__()
        self.attempts: tuple[Attempt, ...] = ()
        """What the ledger holds at the end."""
        self._left: tuple[int, float, int] | None = None
        """Of the moment when all faults were over: bytes, the longest wait (seconds), the largest performance."""

    def must_end(self, process: Process) -> None:
        """LIVENESS: remember what is left to do now that all faults are over."""
        scheduler, now = process.scheduler, process.clock.now()
        others = [other.scheduler.ended for other in self.world.processes]
        left = {*scheduler.pending, *scheduler.waiting, *scheduler.active, *scheduler.held_by_others}
        left = {each for each in left if not any(each in ended for ended in others)}
        sizes = {each: self._size(process, each) * self._downloads_needed(process, each) for each in left}
        waits = max([0.0, *(wait.until - now for wait in scheduler.waiting.values())])
        self._left = (sum(sizes.values()) - self.world.disk.spooled_bytes(), waits, max(sizes.values(), default=0))

    def _size(self, process: Process, performance: Performance) -> int:
        """Return the bytes to download of a performance: those that the plan has."""
        assert process.progress is not None
        return process.progress.sizes.get(performance, self.world.catalogue.size(performance))

    def _downloads_needed(self, process: Process, performance: Performance) -> int:
        files = self.world.catalogue.files_of(performance)
        poisoned = any(file.path in self.world.poisoned_downloads for file in files)
        return 1 + process.settings.processing.max_retries if poisoned else 1

    def check_end(self) -> None:
        """LIVENESS, EXPECTED: the last run has ended now."""
        now, world = self.world.elapsed(), self.world
        if self._left is not None:
            size, waits, largest = self._left
            capacity = Capacity(world.line.mean_width(world.calm_at, now), len(world.accounts))
            least = max(forecast(max(0, size), 0, capacity).seconds, waits)
            tail = self.tail_seconds(largest)
            took = now - world.calm_at
            if took > 1.1 * least + tail:
                self.breach(LIVENESS, f"it took {took:.0f} s, {least:.0f} were needed and {tail:.0f} for its tail")

    async def check_at_rest(self, process: Process, rows: Sequence[PerformanceRow]) -> None:
        """AT_REST: nothing is left of what was done, and the folders are those of the ledger."""
        self.attempts = tuple(await process.ledger.attempts.all())
        disk, failed = self.world.disk, {row.performance for row in rows if row.stage in FAILURES}
        for row in rows:
            folder = disk.output_dir / row.performance.subject / row.performance.name
            if (row.stage is Stage.COMPLETED) != (folder / MARKER).exists():
                self.breach(AT_REST, f"{row.performance} is {row.stage.value} in the ledger, not on the disk")
        published = sum(row.bytes for row in rows if row.stage is Stage.COMPLETED)
        if published != disk.output_bytes():
            self.breach(AT_REST, f"the ledger counts {published} bytes, the disk {disk.output_bytes()}")
        stems = {f"{each.subject}_{each.name}_" for each in failed}
        left = [path for path in disk.files(disk.temp_dir, ()) if not any(stem in path for stem in stems)]
        leases = list((disk.temp_dir / ".leases").glob("*.lease"))
        if left or leases:
            self.breach(AT_REST, f"left in the spool: {left}, leases: {leases}")
