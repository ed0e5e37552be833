"""Checks of the laws at every event, and what they have to remember for that."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rm360_async.domain.errors import Answer
from rm360_async.domain.names import Performance
from rm360_async.domain.retry import RetryDecision
from rm360_async.domain.stage import ENDED
from rm360_async.domain.state import PerformanceRow
from rm360_async.service.run_plan import RunPlan
from simulation.account_checks import AccountChecks
from simulation.end_checks import FAILURES, EndChecks
from simulation.laws import DUE_FIRST, ENDS, GOES_ON, NOTHING_LOST, ONCE, PROMISES, TRIES, Law
from simulation.machine_checks import MachineChecks
from simulation.status_checks import StatusChecks

if TYPE_CHECKING:
    from simulation.process import Process
    from simulation.world import Event

_DUE_SECONDS = 1800.0
_BLOCK = 4096
_MAX_EVENTS = 300
"""Events of a performance, at most, as a mean; usually it has 20."""


class Laws(AccountChecks, MachineChecks, StatusChecks, EndChecks):
    """The checks of one world, and what they have to remember."""

    def __init__(self, stop_at: Law | None = None) -> None:
        super().__init__()
        self.stop_at = stop_at
        self._held: dict[Performance, Process] = {}
        self._published: set[Performance] = set()
        self._begun: set[Performance] = set()
        self._charged: defaultdict[Performance, int] = defaultdict(int)

    def check(self, event: Event) -> None:
        """Check what an event may break."""
        if self.world.count > _MAX_EVENTS * (self.world.scenario.performances + 100):
            self.breach(ENDS, f"{self.world.count} events have happened")
        self.remember_end(event)
        self.check_machine(event)
        check = _CHECKS.get(event.kind)
        if check is not None:
            check(self, event)

    def claimed(self, event: Event) -> None:
        """ONCE: nobody else that is alive has it."""
        performance, process = _of(event)
        holder = self._held.get(performance)
        if holder is not None and holder.alive:
            self.breach(ONCE, f"{process} works on {performance}, which {holder} is working on")
        self._held[performance] = process

    def released(self, event: Event) -> None:
        """Remember that nobody has it."""
        self._held.pop(_of(event)[0], None)

    def published(self, event: Event) -> None:
        """ONCE: it was not published before."""
        performance, process = _of(event)
        if performance in self._published:
            self.breach(ONCE, f"{process} published {performance} a second time")
        self._published.add(performance)

    def wanted_again(self, performances: Sequence[Performance]) -> None:
        """Expect performances to be published again: folders were removed, or more of them is wanted."""
        self._published.difference_update(performances)

    def handed_out(self, event: Event) -> None:
        """DUE_FIRST: what is handed out had a turn before, or nothing has been due for long."""
        performance, process = _of(event)
        if performance not in self._begun:
            now = process.clock.now()
            due = [(wait.until, p) for p, wait in process.scheduler.waiting.items() if wait.until < now - _DUE_SECONDS]
            if due:
                until, first = min(due, key=lambda each: each[0])
                self.breach(DUE_FIRST, f"{first} is due since {(now - until) / 3600:.1f} h, and {performance} begins")
        self._begun.add(performance)

    def check_space(self) -> None:
        """PROMISES: the spool is within its limit, and what is free above the floor but for strangers."""
        disk, scenario = self.world.disk, self.world.scenario
        spooled, limit = disk.spooled_bytes(), int(scenario.max_temp_gb * 2**30)
        if spooled > limit + _BLOCK * scenario.downloads:
            self.breach(PROMISES, f"{spooled} bytes lie in the spool, {limit} are allowed")
        floor = int(scenario.min_free_gb * 2**30)
        free = {disk.temp_dir: disk.space(disk.temp_dir).free_bytes + disk.strangers}
        if disk.output_capacity is not None:
            free[disk.output_dir] = disk.space(disk.output_dir).free_bytes
        for folder, free_bytes in free.items():
            if free_bytes < floor:
                self.breach(PROMISES, f"{free_bytes} bytes are free in {folder.name}, {floor} are to stay free")

    def charged(self, process: Process, performance: Performance, decision: RetryDecision) -> None:
        """TRIES: not more tries are charged than there are."""
        self._charged[performance] += decision.counts_as_try
        allowed = 1 + process.settings.processing.max_retries
        if self._charged[performance] > allowed:
            self.breach(TRIES, f"{performance} is tried for time {self._charged[performance]}, {allowed} are allowed")

    async def planned(self, process: Process, plan: RunPlan) -> None:
        """Remember which performances have all their tries again, as a new run gives them."""
        for row in await process.ledger.rows(plan.states.keys()):
            if row.tries == 0:
                self._charged.pop(row.performance, None)

    def retried(self, performances: Sequence[Performance]) -> None:
        """Remember that a person gave performances all their tries again; any account may be asked."""
        self._begun.update(performances)
        for performance in performances:
            self._charged.pop(performance, None)
            self.forget_quotas(performance)

    def exited(self, event: Event) -> None:
        """GOES_ON: no fault ended it."""
        if event.process is not None and event.process.fault is not None:
            self.breach(GOES_ON, f"{event.process} ended: {event.process.fault}")

    def ended(self, process: Process, rows: Sequence[PerformanceRow]) -> None:
        """NOTHING_LOST: each has ended, and failed only for a reason."""
        self.check_expected(process)
        for row in rows:
            if self.is_just_retried(row.performance):
                continue
            if row.stage not in ENDED:
                self.breach(NOTHING_LOST, f"{process} ends, and {row.performance} is {row.stage.value}")
            elif row.stage in FAILURES and not self._may_fail(process, row):
                self.breach(NOTHING_LOST, f"{row.performance} failed without need: {row.reason}")

    def _may_fail(self, process: Process, row: PerformanceRow) -> bool:
        used_up = row.tries > process.settings.processing.max_retries
        return used_up or (row.cause is not None and row.cause.answer is Answer.GIVE_UP)


def _of(event: Event) -> tuple[Performance, Process]:
    assert isinstance(event.subject, Performance) and event.process is not None
    return event.subject, event.process


_CHECKS = {
    "claimed": Laws.claimed,
    "released": Laws.released,
    "published": Laws.published,
    "handed out": Laws.handed_out,
    "refused": Laws.refused,
    "exited": Laws.exited,
    "clock set back": Laws.clock_changed,
}
