"""One simulated process of the service: the real parts on a simulated remote, disk and clock, from start to exit code.

A killed process does nothing any more: its claims and tickets are dropped as the kernel drops them, its tasks are
cancelled, and every way from it to the outside raises `Killed`, so no clean-up of its code reaches the world.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import TYPE_CHECKING

import anyio

from rm360_async.budget import Budget
from rm360_async.config import Settings
from rm360_async.domain.clock import Clock
from rm360_async.domain.errors import Fault
from rm360_async.domain.exit_code import ExitCode
from rm360_async.domain.retry import RetryPolicy
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import PlannedState
from rm360_async.download import spool
from rm360_async.download.downloader import Downloader
from rm360_async.download.range_downloader import RangeDownloader
from rm360_async.download.rclone import StallPolicy
from rm360_async.download.throttle import Throttle
from rm360_async.extraction.worker_client import WorkerLimits
from rm360_async.ledger import Claims, Ledger, ManifestWriter, create_ledger, ledger_path, lock_path
from rm360_async.ledger.database import Database
from rm360_async.pipeline.pipeline import Width
from rm360_async.pipeline.pipeline import run as run_pipeline
from rm360_async.pipeline.scheduler import Scheduler
from rm360_async.service.end_summary import exit_code
from rm360_async.service.progress import Progress
from rm360_async.service.reconciler import Reconciler
from rm360_async.service.run_plan import RunPlan
from rm360_async.service.startup import list_patiently
from rm360_async.stages.reserve import evict_orphans
from rm360_async.stages.stages import Stages
from rm360_async.system.os_errors import fault_in
from simulation.laws import SOUND
from simulation.remote import SimulatedRemote
from simulation.sqlite import InlineConnection
from simulation.witness import WitnessedLog, WitnessedScheduler, WitnessedStages
from simulation.workers import SimulatedWorkers

if TYPE_CHECKING:
    from simulation.world import World

_DEADLINE_SECONDS = 4 * 3600.0
CURRENT: ContextVar[Process | None] = ContextVar("the simulated process that runs", default=None)


class Killed(BaseException):
    """The process was killed: nothing that it still tries happens."""


def _cause_of(error: BaseException) -> BaseException:
    """Return the first error of a group that is no group itself."""
    inner: Sequence[BaseException] = getattr(error, "exceptions", ())
    return _cause_of(inner[0]) if inner else error


@dataclass(frozen=True)
class Parts:
    """The classes of which a process is made; a mutant has another one in the place of what it lacks."""

    throttle: type[Throttle] = Throttle
    budget: type[Budget] = Budget
    claims: type[Claims] = Claims
    log: type[WitnessedLog] = WitnessedLog
    scheduler: type[WitnessedScheduler] = WitnessedScheduler


class Process:
    """A service from its start to its end; `name` is the instance, `number` counts its starts."""

    def __init__(self, world: World, name: str, number: int, settings: Settings) -> None:
        self.world, self.name, self.number, self.settings = world, name, number, settings
        self.alive = True
        self.fault: Fault | None = None
        """Why it could not go on."""
        self.scheduler: WitnessedScheduler | None = None
        self.progress: Progress | None = None
        self.budget: Budget | None = None
        self._scope = anyio.CancelScope()
        chance = Random(f"{world.seed} {name} {number}").random
        self.clock = Clock(world.time.now, world.elapsed, chance)
        path = ledger_path(settings.storage.manifest_path)
        create_ledger(path)
        self._connection = InlineConnection(path, self.require_alive)
        self.ledger = Ledger(Database(self._connection, path), world.time.now)
        self.claims = world.parts.claims(lock_path(path))

    def __str__(self) -> str:
        return f"{self.name}.{self.number}"

    def require_alive(self) -> None:
        """Raise Killed if the process is dead."""
        if not self.alive:
            raise Killed

    def kill(self) -> None:
        """End the process as SIGKILL does."""
        self.world.line.update()
        self.world.note("killed", self)
        self.die()
        self._scope.cancel()

    def die(self) -> None:
        """Leave nothing that its code could still do; what is left of its tasks is cancelled by others."""
        self.alive = False
        self.close()

    async def run(self) -> int | None:
        """Return the exit code; None if it was killed."""
        CURRENT.set(self)
        code: int | None = None
        self.world.note("started", self)
        with self._scope:
            try:
                code = await self._live()
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as error:  # noqa: BLE001 - what a dead process raises is heard by no one
                self.fault = fault_in(error)
                if self.alive and self.fault is None:
                    self.world.laws.breach(SOUND, f"{self} ended with {_cause_of(error)!r}")
                code = ExitCode.CANNOT_CONTINUE
        if not self.alive:
            return None
        self.world.note("exited", self, "", f"{code} {self.fault or ''}")
        self.close()
        self.alive = False
        return code

    async def _live(self) -> int:
        settings, storage = self.settings, self.settings.storage
        number = await self.ledger.runs.begin(str(storage.output_dir), self.claims)
        processing = settings.processing
        policy = RetryPolicy(processing.max_retries, processing.retry_delay, processing.quota_wait_hours * 3600)
        remotes = [SimulatedRemote(self.world.accounts[name], self) for name in settings.google_drive.remotes]
        reconciler = Reconciler(settings, self.ledger, self.claims, self.clock)
        await reconciler.import_existing()
        listing = await list_patiently(settings, list(remotes), policy, self.clock)
        plan = await reconciler.plan(listing, force=False)
        await self.world.laws.planned(self, plan)
        scheduler = self.scheduler = self.world.parts.scheduler(self)
        for each, state in plan.states.items():
            scheduler.update(each, PlannedState(Stage.PENDING) if each in plan.needs_cleanup else state)
        stages = self._stages(remotes, policy, number, scheduler)
        stages.budget.remove_dead_tickets()
        sizes = {each: estimate.staging_bytes(processing.fetch) for each, estimate in plan.estimates.items()}
        fetched = stages.downloader
        self.progress = Progress(scheduler, sizes, stages.budget, lambda: fetched.fetched_bytes, self.clock)
        width = Width(processing.downloads, processing.worker_count)
        await run_pipeline(scheduler, stages, width, policy, self.clock)
        await self.ledger.requests.unforce(each for each in plan.states if each not in scheduler.waiting)
        await self.ledger.runs.end(number, self.claims)
        return await self._exit_code(plan)

    async def _exit_code(self, plan: RunPlan) -> int:
        rows = await self.ledger.rows(plan.states.keys(), claims=self.claims)
        self.world.laws.ended(self, rows)
        return exit_code(rows, plan.remarks)

    def _stages(
        self, remotes: Sequence[SimulatedRemote], policy: RetryPolicy, number: int, scheduler: Scheduler
    ) -> Stages:
        settings, parts, storage, limits = self.settings, self.world.parts, self.settings.storage, self.settings.limits
        log = parts.log(self, number, ManifestWriter(storage.manifest_path, self.ledger, self.claims))
        throttle = parts.throttle(
            settings.processing.downloads, policy, clock=self.clock.monotonic, chance=self.clock.chance
        )
        downloader = Downloader(
            list(remotes),
            self.ledger.hints,
            storage.temp_dir,
            settings.google_drive.structure,
            throttle,
            policy.quota_wait,
            self.clock,
        )
        self.budget = parts.budget(
            storage.temp_dir,
            storage.output_dir,
            limits.max_temp_bytes,
            limits.min_free_bytes,
            excluded_dirs=(storage.temp_dir / spool.QUARANTINE,),
            evict_orphans=partial(evict_orphans, due_times=scheduler.due_times),
            disk=self.world.disk,
            poll_seconds=self.world.poll_seconds,
        )
        limits_of_worker = WorkerLimits(settings.processing.worker_memory_bytes, _DEADLINE_SECONDS)
        ranges = RangeDownloader(downloader, StallPolicy(1.0, 90), limits_of_worker, False)
        run_extraction = SimulatedWorkers(self).extract
        budget = self.budget
        return WitnessedStages(settings, log, downloader, ranges, budget, limits_of_worker, self.clock, run_extraction)

    def close(self) -> None:
        """Give up what the kernel takes from a dead process: claims, the locks of its tickets, its open files."""
        self.claims.close()
        self._connection.close()
        tickets = self.budget._tickets._own if self.budget is not None else {}
        for entry in list(tickets.values()):
            if entry.descriptor is not None:
                os.close(entry.descriptor)
                entry.descriptor = None
        tickets.clear()
