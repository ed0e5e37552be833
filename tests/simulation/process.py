"""One simulated process of the service: the real parts on a simulated remote, disk and clock, from start to exit code.

A killed process does nothing any more: its claims and tickets are dropped as the kernel drops them, its tasks are
cancelled, and every way from it to the outside raises `Killed`, so no clean-up of its code reaches the world.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextvars import ContextVar
from random import Random
from typing import TYPE_CHECKING, Any

import anyio

from rm360_async.budget import Budget
from rm360_async.config import Settings
from rm360_async.domain.clock import Clock
from rm360_async.domain.errors import Fault
from rm360_async.domain.exit_code import ExitCode
from rm360_async.domain.retry import RetryPolicy
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import PlannedState
from rm360_async.ledger import create_ledger, ledger_path, lock_path
from rm360_async.ledger.database import Database
from rm360_async.pipeline.pipeline import Width
from rm360_async.pipeline.pipeline import run as run_pipeline
from rm360_async.service.end_summary import exit_code
from rm360_async.service.progress import Progress
from rm360_async.service.reconciler import Reconciler
from rm360_async.service.requests import follow_requests
from rm360_async.service.run_plan import RunPlan
from rm360_async.service.signals import Stop
from rm360_async.service.startup import list_patiently
from rm360_async.stages.stages import Stages
from rm360_async.system.os_errors import fault_in
from simulation.assembly import build_stages
from simulation.laws import SOUND
from simulation.remote import SimulatedRemote
from simulation.sqlite import InlineConnection

if TYPE_CHECKING:
    from simulation.world import World

CURRENT: ContextVar[Process | None] = ContextVar("the simulated process that runs", default=None)


class Killed(BaseException):
    """The process was killed: nothing that it still tries happens."""


def _cause_of(error: BaseException) -> BaseException:
    """Return the first error of a group that is no group itself."""
    inner: Sequence[BaseException] = getattr(error, "exceptions", ())
    return _cause_of(inner[0]) if inner else error


class Process:
    """A service from its start to its end; `name` is the instance, `number` counts its starts."""

    def __init__(self, world: World, name: str, number: int, settings: Settings) -> None:
        self.world, self.name, self.number, self.settings = world, name, number, settings
        self.alive = True
        self.fault: Fault | None = None
        """Why it could not go on."""
        self.progress: Progress | None = None
        """None until the plan is made."""
        self.planned_at = 0.0
        """Seconds since the beginning."""
        self.budget: Budget | None = None
        self._scope = anyio.CancelScope()
        chance = Random(f"{world.seed} {name} {number}").random
        self.clock = Clock(world.time.now, world.elapsed, chance)
        self.scheduler = world.parts.scheduler(self)
        self._stop = Stop(self.scheduler, settings.processing.grace_seconds, lambda: None)
        path = ledger_path(settings.storage.manifest_path)
        create_ledger(path)
        self._connection = InlineConnection(path, self.require_alive)
        self.ledger = world.parts.ledger(Database(self._connection, path), world.time.now)
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

    def stop(self) -> None:
        """Stop it as TERM does."""
        self.world.note("stopped", self)
        self._stop.handle(signal.SIGTERM)

    async def _live(self) -> int:
        number = await self.ledger.runs.begin(str(self.settings.storage.output_dir), self.claims)
        plan: RunPlan | None = None
        with self._stop.scope:
            plan = await self._plan()
            await self._process(plan, number)
        await self.ledger.runs.end(number, self.claims)
        if plan is None:
            return self._stop.exit_code or ExitCode.CANNOT_CONTINUE
        rows = await self.ledger.rows(plan.states.keys(), claims=self.claims)
        if self._stop.exit_code is None:
            self.world.laws.ended(self, rows)
        return exit_code(rows, plan.remarks, self._stop.exit_code)

    @property
    def _policy(self) -> RetryPolicy:
        processing = self.settings.processing
        quota_wait, start_failures = processing.quota_wait_hours * 3600, self.world.parts.start_failures
        return RetryPolicy(processing.max_retries, processing.retry_delay, quota_wait, start_failures)

    async def _plan(self) -> RunPlan:
        remotes = self.remotes = [
            SimulatedRemote(self.world.accounts[name], self) for name in self.settings.google_drive.remotes
        ]
        reconciler = Reconciler(self.settings, self.ledger, self.claims, self.clock)
        await reconciler.import_existing()
        listing = await list_patiently(
            self.settings, list(remotes), self._policy, self.clock, self.world.parts.attendance
        )
        accounts = [str(remote) for remote in (remotes if self.world.parts.waits_by_account else remotes[:1])]
        plan = await reconciler.plan(listing, accounts, force=False)
        await self.world.laws.planned(self, plan)
        return plan

    async def _process(self, plan: RunPlan, number: int) -> None:
        for each, state in plan.states.items():
            self.scheduler.update(each, PlannedState(Stage.PENDING) if each in plan.needs_cleanup else state)
        stages = build_stages(self, self.remotes, self._policy, number)
        self.budget = stages.budget
        stages.budget.remove_dead_tickets()
        self.planned_at = self.world.elapsed()
        self.progress = self._new_progress(plan, stages)
        self._stop.pipeline_running = True
        await self._run_pipeline(stages)
        self._stop.pipeline_running = False
        if not self.scheduler.stopping:
            await self.ledger.requests.unforce(each for each in plan.states if each not in self.scheduler.waiting)

    def _new_progress(self, plan: RunPlan, stages: Stages) -> Progress:
        fetch, downloader = self.settings.processing.fetch, stages.downloader
        sizes = {each: estimate.staging_bytes(fetch) for each, estimate in plan.estimates.items()}
        make = self.world.parts.progress
        return make(self.scheduler, sizes, stages.budget, lambda: downloader.fetched_bytes, self.clock)

    async def _run_pipeline(self, stages: Stages) -> None:
        processing, attendance = self.settings.processing, self.world.parts.attendance
        width = Width(self.world.scenario.downloads, processing.worker_count)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stages.budget.share_progress)
            tasks.start_soon(follow_requests, self.ledger, self.scheduler, self.world.poll_seconds)
            await run_pipeline(self.scheduler, stages, width, self._policy, self.clock, attendance)
            tasks.cancel_scope.cancel()

    def close(self) -> None:
        """Give up what the kernel takes from a dead process: claims, locks of tickets and folders, open files."""
        self.claims.close()
        self._connection.close()
        locks: list[Any] = [job.staging_lock for job in self.scheduler.active.values() if job.staging_lock]
        for lock in locks:
            lock._lock.release()
        tickets = self.budget._tickets._own if self.budget is not None else {}
        for entry in list(tickets.values()):
            if entry.descriptor is not None:
                os.close(entry.descriptor)
                entry.descriptor = None
        tickets.clear()
