"""What a scenario is made of: a site, what it holds, and what goes wrong there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from rm360_async.domain.errors import Cause
from simulation.accounts import Refusals
from simulation.catalogue import GB, Catalogue, release_of_500
from simulation.line import LineProfile

Release = Callable[[Random, int], Catalogue]


@dataclass(frozen=True)
class Faults:
    """How often what goes wrong: shares of downloads and extractions, and days between two of what befalls all."""

    body: float = 0.05
    mismatch_share: float = 0.1
    death: float = 0.01
    slow: float = 0.003
    poisoned: float = 0.004
    outage_days: float = 2.0
    storm_days: float = 2.0
    kill_days: float = 1.5
    strangers_days: float = 3.0
    lockout_days: float = 12.0
    clock_days: float = 10.0
    no_process_days: float = 6.0


@dataclass(frozen=True)
class PlannedFault:
    """A fault that happens once, to the download of a file: at this byte, or before the first one (None)."""

    path: str
    cause: Cause
    at: int | None = None


@dataclass(frozen=True)
class Scenario:
    """A site, its release and its troubles."""

    name: str
    sentence: str
    performances: int = 1000
    line: LineProfile = field(default_factory=lambda: LineProfile(0.6e6, 0.6e6, 0.6, 0.3))
    accounts: int = 1
    more_accounts: int = 0
    """How many the person adds, one at a time, when a quota is used up."""
    refusals: Refusals = field(default_factory=Refusals)
    instances: int = 1
    downloads: int = 2
    workers: int = 2
    disk: float = 2000 * GB
    output_disk: int | None = None
    """Bytes of a disk of its own for the folders; None: they lie on the same one."""
    max_temp_gb: float = 60
    min_free_gb: float = 20
    extract_rate: float = 40e6
    worker_start: float = 0.0
    """Seconds that a child process takes before it extracts."""
    answer_seconds: tuple[float, float] = (0.5, 2.0)
    """Seconds between which a request is answered, with what rclone needs to start."""
    retry_delay: float = 30.0
    fetch: str = "whole"
    release: Release = release_of_500
    """Draws what the remote holds, so many performances."""
    planned_faults: tuple[PlannedFault, ...] = ()
    faults: Faults = field(default_factory=Faults)
    requests: int = 3
    """How many configs the person runs one after another."""
    small_performances: int = 25
    small_requests: int = 1
    """In the short form of the scenario."""
    interferes: bool = False
    """True for a person who stops the service and starts it again, and retries what failed while it runs."""
    look_seconds: float = 6 * 3600.0
    """How often the person looks at what runs."""
    poll_seconds: float = 120.0
    """How often what waits for disk space, or for another instance, looks again: 2 s in life, which would cost most
    of a simulation's time."""
