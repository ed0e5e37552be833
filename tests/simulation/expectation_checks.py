"""Checks of the ends that a run expects, which are looked back at when it has ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from rm360_async.domain.errors import Cause
from rm360_async.domain.names import Performance
from rm360_async.domain.stage import ENDED
from simulation.laws import EXPECTED
from simulation.recorder import Recorder

if TYPE_CHECKING:
    from simulation.process import Process
    from simulation.world import Event

_ENDS = frozenset(stage.value for stage in ENDED)
_SOME = 20
"""Performances of a run whose end can be foretold."""
_SOME_LOOKS = 3
"""The rate of two minutes may be that of a pause; the middle one of so many is not."""
_TAIL_SECONDS = 1800.0


@dataclass(frozen=True)
class Expected:
    """How many seconds a run expected to take from `at` on, and the seconds of trouble that there had been by then."""

    at: float
    left: float
    trouble: float


class ExpectationChecks(Recorder):
    """The ends that each process expected, and what came of them."""

    def __init__(self) -> None:
        super().__init__()
        self._expected: dict[Process, list[Expected]] = {}
        self._ended_at: dict[Performance, float] = {}
        self._quota_at: dict[Performance, float] = {}
        """When each performance last began to wait for a quota."""

    async def expect_end(self, process: Process) -> None:
        """EXPECTED: remember which end the service expects; its rate is of the last two minutes."""
        progress, scheduler = process.progress, process.scheduler
        assert progress is not None
        for seconds in (0, 50, 50):
            await anyio.sleep(seconds)
            self.world.line.update()
            snapshot = progress.snapshot()
        is_begun = len(scheduler.ended) >= scheduler.planned / 10
        can_tell = scheduler.planned >= _SOME and self.world.is_alone and self.world.is_untroubled()
        if snapshot.expected_end is not None and is_begun and can_tell:
            expected = Expected(self.world.elapsed(), snapshot.expected_end - process.clock.now(), self.world.trouble())
            self._expected.setdefault(process, []).append(expected)

    def check_expected(self, process: Process) -> None:
        """EXPECTED: the process has ended now; look back at what it expected.

        What cannot be foreseen: hours without a network, quotas that are used up later, files that come damaged each
        time; and a mean rate says little about the last large performance, while all others are done.
        """
        if process not in self._expected or process.progress is None:
            return
        now, trouble = self.world.elapsed(), self.world.trouble()
        tail = self.tail_seconds(max(process.progress.sizes.values(), default=0))
        factors = []
        for each in self._expected.pop(process):
            ends = [self._ended_at.get(p, 0.0) for p in process.scheduler.ended if self._is_foreseen(p, each.at)]
            least = max(ends, default=now) - each.at - (trouble - each.trouble) - tail
            took = now - each.at
            late, early = (each.left - _TAIL_SECONDS) / max(1.0, took), each.left / max(1.0, least)
            factors.append(max(1.0, late) if each.left > took else min(1.0, early))
        factors.sort()
        if len(factors) >= _SOME_LOOKS and not 0.5 <= factors[len(factors) // 2] <= 2:
            self.breach(EXPECTED, f"{process} expected {factors[len(factors) // 2]:.2f} of what it took")

    def _is_foreseen(self, performance: Performance, at: float) -> bool:
        files = self.world.catalogue.files_of(performance)
        is_poisoned = any(file.path in self.world.poisoned_downloads for file in files)
        return not is_poisoned and self._quota_at.get(performance, 0.0) <= at

    def remember_end(self, event: Event) -> None:
        """Remember when a performance ended, and when it began to wait for a quota."""
        if isinstance(event.subject, Performance):
            if event.kind in _ENDS:
                self._ended_at[event.subject] = event.at
            elif event.detail == Cause.FILE_QUOTA.code:
                self._quota_at[event.subject] = event.at

    def tail_seconds(self, size: int) -> float:
        """Return the seconds that a last performance of so many bytes may take alone, at the worst time of the day."""
        line = self.world.line.profile
        rate = min(line.cap, line.width * line.day_share * (1 - line.noise))
        return size / rate + 2 * size / self.world.extract_rate + _TAIL_SECONDS
