"""One round of a simulation: a world from its beginning to its end, and what came of it."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from rm360_async.ledger import Attempt
from simulation import weather
from simulation.assembly import Parts
from simulation.checks import Laws
from simulation.clock import VirtualLoop, run_virtually, threads_on_the_loop
from simulation.laws import Breach, Law
from simulation.people import Person
from simulation.process import CURRENT
from simulation.scenario import Scenario
from simulation.world import World, require_alive

_MEMORY = Path("/dev/shm")
MONTH = 30 * 86_400.0


@dataclass(frozen=True)
class Round:
    """What came of a seed."""

    scenario: Scenario
    seed: str
    virtual_seconds: float
    cpu_seconds: float
    """Of this process: on a machine that others use too, what the round would take alone."""
    events: int
    digest: str
    breaches: tuple[Breach, ...]
    counts: Counter[str]
    """Breaches by law, with those of which there were too many to keep."""
    attempts: tuple[Attempt, ...]
    """What the ledger holds at the end."""

    @property
    def unexpected(self) -> tuple[Breach, ...]:
        """Return the breaches of laws that the code is not known to break."""
        return tuple(breach for breach in self.breaches if not breach.law.known)


REAL = Parts()


def play(scenario: Scenario, seed: str, parts: Parts = REAL, *, stop_at: Law | None = None) -> Round:
    """Play one round in a folder that is removed afterwards; it ends when the law `stop_at` is broken."""
    began = time.process_time()
    laws = Laws(stop_at)
    with _folder() as folder, _quiet(), _time_zone(), threads_on_the_loop(require_alive):

        async def main(loop: VirtualLoop) -> None:
            world = World(loop, scenario, seed, folder, parts, laws)
            laws.world = world
            async with anyio.create_task_group() as tasks:
                weather.begin(world, tasks)
                await Person(world).work()
                laws.check_end()
                tasks.cancel_scope.cancel()

        def kill_all() -> None:
            for process in laws.world.processes:
                process.die()

        CURRENT.set(None)
        run_virtually(main, kill_all)
        world = laws.world
    cpu = time.process_time() - began
    breaches = tuple(laws.breaches)
    return Round(scenario, seed, world.elapsed(), cpu, world.count, world.digest, breaches, laws.counts, laws.attempts)


@contextmanager
def _folder() -> Iterator[Path]:
    """Give an empty folder in memory, if the system has such a place."""
    folder = Path(tempfile.mkdtemp(prefix="rm360-simulation-", dir=_MEMORY if _MEMORY.is_dir() else None))
    try:
        for name in ("temp", "subjects"):
            (folder / name).mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _time_zone() -> Iterator[None]:
    """Have local time in which summer begins and ends."""
    before = os.environ.get("TZ")
    os.environ["TZ"] = "CET-1CEST,M3.5.0,M10.5.0/3"
    time.tzset()
    try:
        yield
    finally:
        if before is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = before
        time.tzset()


@contextmanager
def _quiet() -> Iterator[None]:
    """Log nothing: a month has a hundred thousand lines."""
    log = logging.getLogger("rm360_async")
    before, log.level = log.level, logging.CRITICAL + 1
    try:
        yield
    finally:
        log.level = before
