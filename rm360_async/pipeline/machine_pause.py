"""The pause of a run on a machine that lets no process begin its work.

Theory of operation. A process that ends before it has read its job says nothing about the performance: the machine has
no memory or no processes left, or a library is broken. Downloading for extractions that cannot begin would only spend
the quota. So after a few such ends in a row, of different performances, nothing new is begun; one trial process after
the other is started, at growing intervals, and the run goes on when one succeeds.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import anyio

from rm360_async.domain.errors import Fault, Scope
from rm360_async.domain.names import Performance
from rm360_async.domain.retry import RetryPolicy, machine_pause, pauses_machine

_log = logging.getLogger(__name__)
_TRIAL_SECONDS = 1.0


async def try_worker(probe: Callable[[], Awaitable[None]], policy: RetryPolicy) -> None:
    """Return once `probe` has started a process, which a run must see before it downloads anything.

    One that dies may have been killed for what others do; so many in a row show that the machine lets none begin.
    Raises the last one's Fault(NOT_STARTED).
    """
    for _ in range(policy.max_start_failures - 1):
        try:
            await probe()
        except Fault as fault:
            _log.warning("trying again: %s", fault)
        else:
            return
        await anyio.sleep(_TRIAL_SECONDS)
    await probe()


class MachinePause:
    """Knows the processes that did not begin; lets callers wait while the run is paused."""

    def __init__(self, probe: Callable[[], Awaitable[None]], show: Callable[[str], None], policy: RetryPolicy) -> None:
        self._probe, self._show, self._policy = probe, show, policy
        self._not_begun: set[Performance] = set()
        self._probing = anyio.Lock()

    def paused(self) -> bool:
        """Return True while nothing new is to be begun."""
        return pauses_machine(self._not_begun, self._policy)

    def record_failure(self, performance: Performance, fault: Fault) -> None:
        """Record a failed attempt; any other failure than that of the machine shows that processes begin."""
        if fault.cause.scope is not Scope.MACHINE:
            self.record_begun()
            return
        was_paused = self.paused()
        self._not_begun.add(performance)
        if self.paused() and not was_paused:
            trouble = (
                f"paused: the processes of {len(self._not_begun)} performances in a row ended before they began;"
                f" nothing more is downloaded, and one is tried again every few minutes: {fault}"
            )
            _log.error(trouble)
            self._show(trouble)

    def record_begun(self) -> None:
        """Record that a process did begin its work."""
        self._not_begun.clear()

    async def wait(self) -> None:
        """Return once the run is not paused; the first of those who wait tries a process from time to time."""
        probes = 0
        while self.paused():
            async with self._probing:
                if not self.paused():
                    return
                await anyio.sleep(machine_pause(probes))
                probes += 1
                try:
                    await self._probe()
                except Fault as fault:
                    _log.warning("still paused: %s", fault)
                else:
                    self.record_begun()
                    self._show("")
                    _log.warning("processes begin again: the run continues")
