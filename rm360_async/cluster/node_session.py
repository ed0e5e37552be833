"""One session of a node: it does the steps that it is sent, and ends with the run, or when it leaves."""

from __future__ import annotations

import math

import anyio
from anyio.abc import TaskGroup

from rm360_async.cluster.dask_node import NodeLink
from rm360_async.cluster.leaving import Leaving
from rm360_async.cluster.node_jobs import NodeJobs
from rm360_async.cluster.node_log import WarningsSent
from rm360_async.cluster.shared_limits import observe_limits, report_limits
from rm360_async.cluster.values import EXTRACT, Values, fault_values, performance_from
from rm360_async.config import Settings
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.retry import may_precede_stop
from rm360_async.download.accounts import Accounts
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.log import logger

log = logger(__name__)
_PROGRESS_SECONDS, _NODES_PER_SECOND = 1.0, 20
"""Between two reports of a node; with many nodes they are less frequent, so that so many arrive each second."""
_STOP_MARGIN_SECONDS = 1.0
_LAST_MESSAGES_SECONDS = 0.2


class NodeSession:
    """The steps that a run sends to this node, from its join to the end of both."""

    def __init__(self, link: NodeLink, jobs: NodeJobs, accounts: Accounts, settings: Settings) -> None:
        self._link, self._jobs, self._accounts = link, jobs, accounts
        self._grace_seconds = settings.processing.grace_seconds
        self._nodes, self._counted = 1, anyio.Event()
        self._shares_bandwidth = settings.processing.bandwidth is not None
        self._steps: dict[int, tuple[Values, anyio.CancelScope]] = {}
        self._leaves = False
        """True once what takes long is broken off."""

    async def count_nodes(self) -> int:
        """Return how many nodes share the accounts, once the run has said so."""
        await self._counted.wait()
        return self._nodes

    async def work(self, leaving: Leaving, tasks: TaskGroup) -> None:
        """Do what the run sends until this node has left; the end of the link cancels it."""
        leaving.has_session = True
        try:
            await self._work(leaving, tasks)
        finally:
            leaving.has_session = False

    async def _work(self, leaving: Leaving, tasks: TaskGroup) -> None:
        report_limits(self._accounts, self._link.send)
        await on_disk_thread(self._jobs.budget.remove_dead_tickets)
        tasks.start_soon(self._jobs.budget.share_progress)
        tasks.start_soon(self._report)
        tasks.start_soon(self._receive, tasks, leaving)
        with WarningsSent(self._link):
            await self._wait_idle_or_leaving(leaving)
            await self._leave(leaving)

    async def _wait_idle_or_leaving(self, leaving: Leaving) -> None:
        while not leaving.is_set:
            if not self._jobs.is_empty:
                leaving.note_use()
            with anyio.move_on_after(leaving.idle_check_seconds):
                await leaving.wait()

    async def _leave(self, leaving: Leaving) -> None:
        """Finish what is here; if it is urgent, end the downloads and wait for the extractions, for some time."""
        self._link.send({"kind": "leaving", "reason": leaving.reason})
        end = math.inf
        while not self._jobs.is_empty and anyio.current_time() < end:
            if leaving.is_urgent and not self._leaves:
                self._leaves, end = True, anyio.current_time() + self._grace_seconds
                self._cancel_downloads()
            changed = self._jobs.changed.next()
            with anyio.move_on_after(_STOP_MARGIN_SECONDS):
                await changed.wait()
        await anyio.sleep(_LAST_MESSAGES_SECONDS)  # in which they are sent

    def _cancel_downloads(self) -> None:
        for message, scope in self._steps.values():
            if message["step"] != EXTRACT:
                scope.cancel()

    async def _receive(self, tasks: TaskGroup, leaving: Leaving) -> None:
        async for message in self._link.messages:
            kind = message["kind"]
            if kind == "step":
                tasks.start_soon(self._do_step, message)
            elif kind == "cancel":
                self._cancel(message["number"])
            elif kind == "release":
                tasks.start_soon(self._jobs.release, performance_from(message["performance"]), message["ended"])
            elif kind == "forget":
                tasks.start_soon(self._jobs.forget, performance_from(message["performance"]))
            elif kind == "failed":
                self._jobs.failed.update(map(performance_from, message["performances"]))
            elif kind == "nodes":
                self._nodes = message["count"]
                self._counted.set()
                self._accounts.limiter.share = 1 / self._nodes if self._shares_bandwidth else 1.0
            elif kind in ("hold", "probe", "resume"):
                observe_limits(self._accounts, message)
            elif kind == "leave":
                leaving.leave("asked to by `rm360 node --drain`", urgent=False)

    def _cancel(self, number: int) -> None:
        _, scope = self._steps.get(number, ({}, None))
        if scope is not None:
            scope.cancel()

    async def _do_step(self, message: Values) -> None:
        with anyio.CancelScope() as scope:
            number = message["number"]
            self._steps[number] = message, scope
            try:
                if self._leaves and message["step"] != EXTRACT:
                    scope.cancel()
                outcome = await self._outcome(message)
            finally:
                del self._steps[number]
            self._link.send({"kind": "outcome", "number": number, **outcome})
        if scope.cancelled_caught and self._leaves:
            outcome = self._jobs.outcome(performance_from(message["performance"]), _LEAVES)
            self._link.send({"kind": "outcome", "number": number, **outcome})

    async def _outcome(self, message: Values) -> Values:
        """Return the outcome of a step; a failure of a node that leaves may come from the same signal."""
        outcome = await self._jobs.perform(message)
        if outcome["fault"] is not None and may_precede_stop(Fault(Cause.from_code(outcome["fault"]["cause"]), "")):
            await anyio.sleep(_STOP_MARGIN_SECONDS)
        if outcome["fault"] is not None and self._leaves:
            outcome["fault"] = fault_values(_LEAVES)
        return outcome

    async def _report(self) -> None:
        """Report how far all steps are, until cancelled."""
        while True:
            await anyio.sleep(max(_PROGRESS_SECONDS, self._nodes / _NODES_PER_SECOND))
            steps = [self._jobs.progress(number, message) for number, (message, _) in self._steps.items()]
            self._link.send(
                {
                    "kind": "progress",
                    "steps": [each for each in steps if each is not None],
                    "free_bytes": await on_disk_thread(self._jobs.free_bytes),
                    "rate": self._accounts.rate,
                    "has_room": self._accounts.has_room(),
                    "connections": self._accounts.open_connections,
                    "held_back_by": self._accounts.held_back_by,
                }
            )


_LEAVES = Fault(Cause.NODE_LEAVES, "its node leaves the run")
