"""Parts of which one safeguard is taken out: the laws must find each within a hundred seeds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from rm360_async.budget import Budget, Shortage
from rm360_async.budget.ticket_queue import QueuedTicket
from rm360_async.domain.doubt import Attendance
from rm360_async.domain.errors import Fault
from rm360_async.domain.names import Performance
from rm360_async.domain.retry import RetryDecision
from rm360_async.download.throttle import Throttle
from rm360_async.ledger import Claims
from rm360_async.pipeline.job import Job
from simulation.assembly import Parts
from simulation.witness import WitnessedLog, WitnessedScheduler


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


MUTANTS = {
    "throttle": Parts(throttle=NoThrottle),
    "lease": Parts(budget=NoLeases),
    "charge": Parts(log=NoCharge),
    "claim": Parts(claims=NoClaims),
    "lasting answers": Parts(attendance=Attendance.TERMINAL),
    "due first": Parts(scheduler=PendingFirst),
}
