"""Parts of which one safeguard is taken out: the laws must find each within a hundred seeds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import anyio

from rm360_async.budget import Budget, Shortage
from rm360_async.budget.ticket_queue import QueuedTicket
from rm360_async.domain.doubt import Attendance
from rm360_async.domain.errors import Fault
from rm360_async.domain.names import Performance
from rm360_async.domain.retry import RetryDecision
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import PlannedState
from rm360_async.download.throttle import Throttle
from rm360_async.ledger import Claims, Ledger
from rm360_async.ledger.database import Database
from rm360_async.ledger.hints import Hints
from rm360_async.pipeline.job import Job
from rm360_async.service.progress import Progress
from simulation.assembly import Parts
from simulation.laws import (
    ASKED,
    AT_REST,
    DUE_FIRST,
    EXPECTED,
    GOES_ON,
    LIVENESS,
    MACHINE,
    NOTHING_LOST,
    ONCE,
    PROMISES,
    QUOTA,
    RATE,
    STARTS,
    STATUS,
    TRIES,
    Law,
)
from simulation.witness import WitnessedLog, WitnessedScheduler, WitnessedStages


class NoThrottle(Throttle):
    """Admit every request at once, whatever the remote says."""

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[Callable[[], None]]:
        """Hold no place."""
        yield lambda: None


class NoLeases(Budget):
    """Grant every lease at once."""

    def _grant(self, queued: QueuedTicket) -> Shortage | None:
        self._tickets.add(queued)
        self._tickets.grant(queued)
        return None


class NoCharge(WitnessedLog):
    """Charge no try."""

    async def write_failure(self, job: Job, decision: RetryDecision, fault: Fault) -> None:
        """Record the failure as one that does not count."""
        await super().write_failure(job, replace(decision, counts_as_try=False), fault)


class NoClaims(Claims):
    """Claim whatever is asked for."""

    def claim(self, number: int) -> bool:
        """Claim a number that anyone may have."""
        super().claim(number)
        return True


class PendingFirst(WitnessedScheduler):
    """Hand out what is due only when nothing is pending."""

    def _next_performance(self) -> Performance | None:
        return next(iter(self.pending), None) or super()._next_performance()


class SleepingScheduler(WitnessedScheduler):
    """Look for what is due every twelve hours."""

    async def _wait_for_change(self) -> None:
        await anyio.sleep(12 * 3600)


class ForgetfulScheduler(WitnessedScheduler):
    """Forget what has to wait."""

    def update(self, performance: Performance, state: PlannedState) -> None:
        """Count it as failed."""
        forgotten = state.stage is Stage.WAITING
        super().update(performance, PlannedState(Stage.DOWNLOAD_FAILED) if forgotten else state)


class LongPauses(Throttle):
    """Pause for two days after a limit."""

    def slow_down(self, reason: str) -> None:
        """Pause."""
        super().slow_down(reason)
        self.until = max(self.until, self._clock() + 2 * 86_400)


class ForgottenQuotas(Ledger):
    """Remember no quota that is used up."""

    def __init__(self, database: Database, now: Callable[[], float]) -> None:
        super().__init__(database, now)
        self.hints = _NoQuotas(database, now)


class _NoQuotas(Hints):
    async def record_quota(self, remote: str, path: str, until: float) -> None:
        """Record nothing."""


class UnrecordedWaits(WitnessedLog):
    """Record in the ledger that something failed, and not that it waits."""

    async def write_failure(self, job: Job, decision: RetryDecision, fault: Fault) -> None:
        """Record a pending performance instead of a waiting one."""
        waits = decision.stage is Stage.WAITING
        await super().write_failure(job, replace(decision, stage=Stage.PENDING) if waits else decision, fault)


class NoCleanup(WitnessedStages):
    """Leave the .smc files of what is published in the spool."""

    async def cleanup(self, job: Job, *, published: bool) -> None:
        """Remove nothing."""


class Pessimist(Progress):
    """Expect an end that is far too late."""

    def _rate(self) -> float:
        return super()._rate() / 5


@dataclass(frozen=True)
class Mutant:
    """Parts that lack a safeguard, the law that is broken then, and the scenario that shows it."""

    parts: Parts
    law: Law
    scenario: str = "one server"


MUTANTS = {
    "throttle": Mutant(Parts(throttle=NoThrottle), RATE),
    "short pauses": Mutant(Parts(throttle=LongPauses), LIVENESS),
    "lease": Mutant(Parts(budget=NoLeases), PROMISES, "small disk"),
    "charge": Mutant(Parts(log=NoCharge), TRIES),
    "record of waits": Mutant(Parts(log=UnrecordedWaits), STATUS),
    "claim": Mutant(Parts(claims=NoClaims), ONCE, "two instances"),
    "lasting answers": Mutant(Parts(attendance=Attendance.TERMINAL), GOES_ON),
    "machine pause": Mutant(Parts(start_failures=10**9), MACHINE, "thin lines"),
    "waits by account": Mutant(Parts(waits_by_account=False), ASKED, "busy person"),
    "due first": Mutant(Parts(scheduler=PendingFirst), DUE_FIRST),
    "waits": Mutant(Parts(scheduler=ForgetfulScheduler), NOTHING_LOST),
    "wake": Mutant(Parts(scheduler=SleepingScheduler), STARTS, "two instances"),
    "quota notes": Mutant(Parts(ledger=ForgottenQuotas), QUOTA, "four accounts"),
    "cleanup": Mutant(Parts(stages=NoCleanup), AT_REST, "small disk"),
    "rate": Mutant(Parts(progress=Pessimist), EXPECTED, "thin lines"),
}
"""By the safeguard that each lacks."""
