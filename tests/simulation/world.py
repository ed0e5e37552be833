"""The simulated world: one site with its line, accounts, disk and clock, the processes on it, and what happened."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import anyio

from rm360_async.config import Settings
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Performance
from simulation.accounts import Account
from simulation.assembly import Parts
from simulation.clock import START, SimulatedTime, VirtualLoop
from simulation.disk import SimulatedDisk
from simulation.line import Line
from simulation.process import CURRENT, Process
from simulation.scenario import PlannedFault, Scenario

if TYPE_CHECKING:
    from simulation.checks import Laws

_EVENTS_KEPT = 60
_AFTER_TROUBLE = 900.0
_YEAR = 365 * 86_400.0


@dataclass(frozen=True)
class Event:
    """Something that happened; `at` is in seconds since the beginning."""

    at: float
    kind: str
    process: Process | None
    subject: Performance | str
    detail: str

    def __str__(self) -> str:
        days, rest = divmod(self.at, 86_400)
        when, who = f"day {days:.0f} {rest / 3600:5.2f} h", str(self.process or "-")
        return f"{when}  {who:<11} {self.kind} {self.subject} {self.detail}"


class World:
    """Everything outside of the code under test."""

    def __init__(
        self, loop: VirtualLoop, scenario: Scenario, seed: str, folder: Path, parts: Parts, laws: Laws
    ) -> None:
        self.scenario, self.seed, self.folder, self.parts, self.laws = scenario, seed, folder, parts, laws
        self._loop = loop
        self.time = SimulatedTime(loop, START + self.dice("start").uniform(0, _YEAR))
        self.catalogue = scenario.release(self.dice("catalogue"), scenario.performances)
        self._planned_faults = list(scenario.planned_faults)
        self.line = Line(scenario.line, f"{seed} line", self._spool_has_grown)
        names = [f"account{number}" for number in range(1, scenario.accounts + scenario.more_accounts + 1)]
        self.known_accounts = scenario.accounts
        """How many of the accounts the config names."""
        self.accounts = {name: Account(f"{name}", scenario.refusals, seed) for name in names}
        self.disk = SimulatedDisk(folder / "temp", folder / "subjects", int(scenario.disk), scenario.output_disk)
        self.faults, self.extract_rate = scenario.faults, scenario.extract_rate
        self.poll_seconds = scenario.poll_seconds
        self.processes: list[Process] = []
        self.lets_processes_begin = True
        self.calm = False
        self.calm_at = 0.0
        self.becalmed = anyio.Event()
        """Set once all faults are over."""
        lots = self.dice("poison")
        poisoned = [each for each in self.catalogue.files if lots.random() < scenario.faults.poisoned]
        self.poisoned_extractions = set(poisoned[::2])
        self.poisoned_downloads = {file.path for each in poisoned[1::2] for file in self.catalogue.files[each].values()}
        self.events: deque[Event] = deque(maxlen=_EVENTS_KEPT)
        self.count = 0
        self._troubles: list[tuple[float, int]] = []
        """When some trouble began (1) or ended (-1)."""
        self._digest = hashlib.sha256()

    def dice(self, name: str) -> Random:
        """Return the dice for one purpose; the same for the same seed."""
        return Random(f"{self.seed} {name}")

    def elapsed(self) -> float:
        """Return the virtual seconds since the beginning."""
        return self.time.elapsed()

    def note(
        self, kind: str, process: Process | None = None, subject: Performance | str = "", detail: str = ""
    ) -> None:
        """Note an event, and ask the laws about it."""
        event = Event(self.elapsed(), kind, process, subject, detail)
        self.events.append(event)
        self.count += 1
        self._digest.update(f"{event}\n".encode())
        self.laws.check(event)

    @contextmanager
    def troubled(self) -> Iterator[None]:
        """Count the time of the block as one in which little can be done."""
        self._troubles.append((self.elapsed(), 1))
        try:
            yield
        finally:
            self._troubles.append((self.elapsed(), -1))

    def trouble(self) -> float:
        """Return the seconds so far in which there was some trouble."""
        seconds, depth, since = 0.0, 0, 0.0
        for at, change in self._troubles:
            seconds += (at - since) * (depth > 0)
            depth, since = depth + change, at
        return seconds + (self.elapsed() - since) * (depth > 0)

    def is_untroubled(self) -> bool:
        """Return True if there was no trouble for as long as its pauses may last, and the rate is that of the line."""
        ends_all = sum(change for _, change in self._troubles) == 0
        return ends_all and (not self._troubles or self._troubles[-1][0] < self.elapsed() - _AFTER_TROUBLE)

    def stop(self) -> None:
        """End the simulation at this moment."""
        self._loop.stop()

    @property
    def is_alone(self) -> bool:
        """Return True if there is one instance, whose rate is that of the line."""
        return self.scenario.instances == 1

    @property
    def digest(self) -> str:
        """Return a hash of all events so far: two rounds with the same one were the same."""
        return self._digest.hexdigest()[:16]

    def take_planned_fault(self, path: str, *, in_body: bool) -> PlannedFault | None:
        """Return the planned fault of a download, which happens no second time; None if there is none."""
        for planned in self._planned_faults:
            if planned.path == path and in_body == (planned.at is not None):
                self._planned_faults.remove(planned)
                return planned
        return None

    async def pause(self, seconds: float) -> None:
        """Wait, but not after the faults are over."""
        with anyio.move_on_after(seconds):
            await self.becalmed.wait()

    def become_calm(self) -> None:
        """End all faults but those that last."""
        self.calm, self.calm_at = True, self.elapsed()
        for account in self.accounts.values():
            account.calm, account.stormy_until, account.locked_out_until = True, 0.0, 0.0
        self.disk.strangers = 0
        self.lets_processes_begin = True
        self.line.set_up(True)
        self.note("all faults are over", None)
        self.becalmed.set()

    def settings(self, **changes: dict[str, Any]) -> Settings:
        """Return the config of a process; `changes` are sections."""
        scenario, folder = self.scenario, self.folder
        sections: dict[str, dict[str, Any]] = {
            "google_drive": {
                "remote_names": list(self.accounts)[: self.known_accounts],
                "structure": self.catalogue.structure.value,
            },
            "extraction": {"subjects": "all"},
            "storage": {"output_dir": str(folder / "subjects"), "temp_dir": str(folder / "temp")},
            "processing": {
                "downloads": scenario.downloads,
                "workers": scenario.workers,
                "retry_delay": scenario.retry_delay,
                "fetch": scenario.fetch,
            },
            "limits": {"max_temp_size_gb": scenario.max_temp_gb, "min_free_space_gb": scenario.min_free_gb},
        }
        for section, values in changes.items():
            sections[section] = {**sections.get(section, {}), **values}
        return Settings.model_validate(sections, context={"folder": folder})

    def _spool_has_grown(self) -> None:
        """Break the downloads if the disk is full; the laws look at the spool."""
        if self.disk.space(self.disk.temp_dir).free_bytes <= 0:
            self.line.break_all(lambda transfer: Fault(Cause.DISK_FULL, f"no room for {transfer.part}"))
        self.laws.check_space()


def require_alive() -> None:
    """Raise Killed if the simulated process that runs at this moment is dead."""
    process = CURRENT.get()
    if process is not None:
        process.require_alive()
