"""Checks of the laws about the end of a run, and the list of what was broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from rm360_async.domain.forecast import Capacity, forecast
from rm360_async.domain.names import Performance
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import PerformanceRow
from rm360_async.ledger import Attempt
from rm360_async.store.marker import MARKER
from simulation.laws import AT_REST, EXPECTED, LIVENESS
from simulation.recorder import Recorder

if TYPE_CHECKING:
    from simulation.process import Process

_TAIL_SECONDS = 1800.0
_SOME = 20
"""Performances of a run whose end can be foretold."""
FAILURES = (Stage.FAILED, Stage.DOWNLOAD_FAILED)


@dataclass(frozen=True)
class Expected:
    """How many seconds a run expected to take from `at` on, and the seconds of trouble that there had been by then."""

    at: float
    left: float
    trouble: float


class EndChecks(Recorder):
    """The checks when a run ends."""

    def __init__(self) -> None:
        super().__init__()
        self.attempts: tuple[Attempt, ...] = ()
        """What the ledger holds at the end."""
        self._expected: dict[Process, list[Expected]] = {}
        self._left: tuple[int, float, int] | None = None
        """Of the moment when all faults were over: bytes, the longest wait (seconds), the largest performance."""

    async def expect_end(self, process: Process) -> None:
        """EXPECTED: remember which end the service expects; its rate is of the last two minutes."""
        progress, scheduler = process.progress, process.scheduler
        assert progress is not None
        for _ in range(3):
            self.world.line.update()
            snapshot = progress.snapshot()
            await anyio.sleep(50)
        is_begun = len(scheduler.ended) >= scheduler.planned / 10
        can_tell = scheduler.planned >= _SOME and self.world.is_alone and self.world.is_untroubled()
        if snapshot.expected_end is not None and is_begun and can_tell:
            expected = Expected(self.world.elapsed(), snapshot.expected_end - process.clock.now(), self.world.trouble())
            self._expected.setdefault(process, []).append(expected)

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
        files = self.world.catalogue.files[performance].values()
        poisoned = any(file.path in self.world.poisoned_downloads for file in files)
        return 1 + process.settings.processing.max_retries if poisoned else 1

    def check_end(self) -> None:
        """LIVENESS, EXPECTED: the last run has ended now."""
        now, world = self.world.elapsed(), self.world
        if self._left is not None:
            size, waits, largest = self._left
            capacity = Capacity(world.line.mean_width(world.calm_at, now), len(world.accounts))
            least = max(forecast(max(0, size), 0, capacity).seconds, waits)
            tail = largest / world.line.profile.cap + 2 * largest / world.extract_rate + _TAIL_SECONDS
            took = now - world.calm_at
            if took > 1.1 * least + tail:
                self.breach(LIVENESS, f"it took {took:.0f} s, {least:.0f} were needed and {tail:.0f} for its tail")

    def check_expected(self, process: Process) -> None:
        """EXPECTED: the process has ended now; look back at what it expected.

        Hours without a network cannot be foreseen; nor can those of the last large performance, while all others are
        done, which a mean rate says little about.
        """
        now, trouble = self.world.elapsed(), self.world.trouble()
        factors = []
        for each in self._expected.pop(process, ()):
            took = now - each.at
            least = took - (trouble - each.trouble) - self._tail(process)
            factors.append(each.left / took if each.left > took else min(1.0, each.left / max(1.0, least)))
        factors.sort()
        if factors and not 0.5 <= factors[len(factors) // 2] <= 2:
            self.breach(EXPECTED, f"{process} expected {factors[len(factors) // 2]:.2f} of what it took")

    def _tail(self, process: Process) -> float:
        """Return the seconds that the last performance may take alone."""
        assert process.progress is not None
        largest = max(process.progress.sizes.values(), default=0)
        return largest / self.world.line.profile.cap + 2 * largest / self.world.extract_rate + _TAIL_SECONDS

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
