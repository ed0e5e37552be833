"""The real parts of a service, put together on a simulated world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from rm360_async.budget import Budget
from rm360_async.domain.doubt import Attendance
from rm360_async.domain.retry import MAX_START_FAILURES, RetryPolicy
from rm360_async.download import spool
from rm360_async.download.downloader import Downloader
from rm360_async.download.throttle import Throttle
from rm360_async.extraction.worker_client import WorkerLimits
from rm360_async.ledger import Claims, Ledger, ManifestWriter
from rm360_async.service.progress import Progress
from rm360_async.stages.reserve import evict_orphans
from simulation.ranges import SimulatedRanges
from simulation.remote import SimulatedAccount, SimulatedAccounts, SimulatedRemote
from simulation.witness import WitnessedLog, WitnessedScheduler, WitnessedStages
from simulation.workers import SimulatedWorkers

if TYPE_CHECKING:
    from simulation.process import Process

_DEADLINE_SECONDS = 4 * 3600.0


@dataclass(frozen=True)
class Parts:
    """The classes of which a process is made; a mutant has another one in the place of what it lacks."""

    throttle: type[Throttle] = Throttle
    budget: type[Budget] = Budget
    claims: type[Claims] = Claims
    log: type[WitnessedLog] = WitnessedLog
    scheduler: type[WitnessedScheduler] = WitnessedScheduler
    attendance: Attendance = Attendance.SERVICE
    ledger: type[Ledger] = Ledger
    stages: type[WitnessedStages] = WitnessedStages
    progress: type[Progress] = Progress
    start_failures: int = MAX_START_FAILURES
    """So many processes that do not begin, one after the other, pause a run."""
    waits_by_account: bool = True
    """False: a wait for a quota ends no sooner because an account was added."""


def build_stages(
    process: Process, remotes: Sequence[SimulatedRemote], policy: RetryPolicy, run: int
) -> WitnessedStages:
    """Return the stages of a process; `run` is its number in the ledger."""
    settings, parts, clock = process.settings, process.world.parts, process.clock
    log = parts.log(process, run, ManifestWriter(settings.storage.manifest_path, process.ledger, process.claims))
    width = process.world.scenario.downloads
    throttles = [parts.throttle(width, policy, clock=clock.monotonic, chance=clock.chance) for _ in remotes]
    pairs = zip(remotes, throttles, strict=True)
    downloader = Downloader(
        SimulatedAccounts([SimulatedAccount(remote, throttle) for remote, throttle in pairs], clock),
        process.ledger.hints,
        settings.storage.temp_dir,
        settings.google_drive.structure,
        policy.quota_wait,
        clock,
    )
    limits = WorkerLimits(settings.processing.worker_memory_bytes, _DEADLINE_SECONDS)
    ranges = SimulatedRanges(process, downloader, limits)
    workers = SimulatedWorkers(process)
    return parts.stages(settings, log, downloader, ranges, _budget(process), limits, workers, clock)


def _budget(process: Process) -> Budget:
    world, storage, limits = process.world, process.settings.storage, process.settings.limits
    return world.parts.budget(
        storage.temp_dir,
        storage.output_dir,
        limits.max_temp_bytes,
        limits.min_free_bytes,
        excluded_dirs=(storage.temp_dir / spool.QUARANTINE,),
        evict_orphans=partial(evict_orphans, due_times=process.scheduler.due_times, clock=process.clock),
        disk=world.disk,
        poll_seconds=world.poll_seconds,
    )
