"""Checks of the law about a machine that lets no process begin."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from rm360_async.domain.errors import Cause
from rm360_async.domain.names import Performance
from simulation.laws import MACHINE
from simulation.recorder import Recorder

if TYPE_CHECKING:
    from simulation.process import Process
    from simulation.world import Event

_IN_A_ROW = 3


class MachineChecks(Recorder):
    """Whose processes did not begin, and what was taken to be downloaded since."""

    def __init__(self) -> None:
        super().__init__()
        self._not_begun: defaultdict[Process, set[Performance]] = defaultdict(set)
        self._taken: Counter[Process] = Counter()

    def check_machine(self, event: Event) -> None:
        """MACHINE: each download that waited for work may still get some."""
        process = event.process
        if process is None:
            return
        if event.kind == "begins":
            self._not_begun.pop(process, None)
            self._taken.pop(process, None)
        elif event.detail == Cause.NOT_STARTED.code and isinstance(event.subject, Performance):
            self._not_begun[process].add(event.subject)
        elif event.kind == "handed out" and len(self._not_begun[process]) >= _IN_A_ROW:
            self._taken[process] += 1
            if self._taken[process] > self.world.scenario.downloads:
                in_vain = len(self._not_begun[process])
                self.breach(MACHINE, f"{process} takes {event.subject}, and no process began for {in_vain}")
