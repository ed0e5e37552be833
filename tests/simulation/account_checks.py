"""Checks of the laws about the accounts: how often each is asked, and for what."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from rm360_async.domain.errors import Cause
from rm360_async.domain.names import Performance
from simulation.laws import ASKED, QUOTA, RATE
from simulation.recorder import Recorder

if TYPE_CHECKING:
    from simulation.process import Process
    from simulation.world import Event

_ASKED_SECONDS = 1800.0


class AccountChecks(Recorder):
    """What was asked of the accounts, and what they refused."""

    def __init__(self) -> None:
        super().__init__()
        self._refusals: defaultdict[Process, list[float]] = defaultdict(list)
        self._quotas: dict[str, float] = {}
        self._asked: set[tuple[str, str]] = set()
        """Account and path of every file of which an account was asked for bytes."""

    def refused(self, event: Event) -> None:
        """RATE: of one process no more requests are refused in one pause than were on their way."""
        process = event.process
        assert process is not None
        if Cause.FILE_QUOTA.code in event.detail:
            return
        if Cause.RATE_LIMIT.code not in event.detail or process.progress is None:
            return
        shortest = 0.8 * process.settings.processing.retry_delay - 5
        recent = self._refusals[process] = [at for at in self._refusals[process] if at > event.at - shortest]
        recent.append(event.at)
        if len(recent) > self.world.scenario.downloads:
            self.breach(RATE, f"{len(recent)} requests of {process} were refused within {shortest:.0f} s")

    def quota_met(self, account: str, path: str) -> None:
        """QUOTA: an account says so once a day, for each file."""
        now, key = self.world.elapsed(), f"{account} {path}"
        if now < self._quotas.get(key, 0.0):
            self.breach(QUOTA, f"{account} was asked again for {path}")
        self._quotas[key] = now + 23 * 3600

    def forget_quotas(self, performance: Performance) -> None:
        """Expect that the files of a performance may be asked for again."""
        paths = {file.path for file in self.world.catalogue.files_of(performance)}
        self._quotas = {key: until for key, until in self._quotas.items() if key.partition(" ")[2] not in paths}

    def clock_changed(self, event: Event) -> None:
        """QUOTA: a wait that a clock makes longer than any is over, so a file may be asked for again."""
        self._quotas.clear()

    def bytes_asked(self, account: str, path: str) -> None:
        """Remember that an account was asked for the bytes of a file."""
        self._asked.add((account, path))

    def check_quota_waits(self, process: Process) -> None:
        """ASKED: what waits for a quota has been asked of every account that the config has."""
        if self.world.elapsed() < process.planned_at + _ASKED_SECONDS:
            return
        for performance, wait in process.scheduler.waiting.items():
            paths = [file.path for file in self.world.catalogue.files_of(performance)]
            for account in process.settings.google_drive.remotes if wait.cause is Cause.FILE_QUOTA else ():
                if not any((account, path) in self._asked for path in paths):
                    self.breach(ASKED, f"{performance} waits for a quota, and {account} was never asked")
