"""A cluster in virtual time: the real scheduler, pipeline, placement and stages of a cluster, on nodes that are lost.

A node is a model: it answers messages after some seconds, has a disk that outlives it, and is killed, hangs and wakes
up, is cut off, falls silent, cannot end its extractions, or leaves. Its stream ends when the coordinator gives it up;
what it sends afterwards reaches nothing, and what it writes afterwards must be published by nothing. The laws are
sentences in `Laws`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any, cast

import anyio

from rm360_async.cluster.hung import Bounds, end_hung
from rm360_async.cluster.losses import MAX_LOSSES
from rm360_async.cluster.members import Member, open_slots
from rm360_async.cluster.nodes import Nodes
from rm360_async.cluster.stages import ClusterStages
from rm360_async.cluster.values import Values, fault_values, job_values
from rm360_async.domain.clock import Clock
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Kind, Performance
from rm360_async.domain.record import Record, RemoteFile
from rm360_async.domain.retry import RetryDecision, RetryPolicy
from rm360_async.domain.stage import CLAIMED_STAGES, FAILURES, Stage
from rm360_async.domain.state import PerformanceRow, PlannedState
from rm360_async.pipeline.job import Job
from rm360_async.pipeline.pipeline import Width
from rm360_async.pipeline.pipeline import run as run_pipeline
from rm360_async.pipeline.scheduler import Scheduler
from rm360_async.store.staging import staging_path
from simulation.clock import START, SimulatedTime, VirtualLoop, run_virtually

WORKERS = 2
_SILENT_SECONDS, _LATENCY = 60.0, 0.02
_MAX_IDLE_SECONDS = 15.0
_REPORT_SECONDS = 10.0
_BOUNDS, _BOUNDS_TOLERANCE = Bounds(silent=90.0, extraction=120.0), 40.0
RECORD: dict[str, Any] = {
    "subject": "0018", "performance": "e0", "version": "1", "published": "", "sources": [], "wanted_cameras": "all",
    "wanted_modalities": [], "modalities": [], "absent": [], "cameras": {}, "frames": 0, "fps": None, "left_out": [],
    "files": 0, "bytes": 0, "schema": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Scenario:
    """What there is, and whether anything happens to nodes."""

    machines: int = 16
    performances: int = 800
    slots: int = 3
    files: int = 6
    """Files that fit in the spool of a machine."""
    reset_share: float = 0.01
    """How often a quarter of a download ends with a reset."""
    is_calm: bool = False
    max_hours: float = 12.0


WILD = Scenario()
TIGHT = Scenario(machines=4, performances=160, slots=1, files=2, reset_share=0.05, is_calm=True, max_hours=1.0)
"""Nothing that happens to a node ends what waits there for ever."""


@dataclass
class Laws:
    """What must hold, and how often it was broken."""

    broken: Counter[str] = field(default_factory=Counter)
    ONCE = "Each performance is published once, from the folder that its last attempt has sealed."
    FENCED = "Nothing that a node seals after it was given up is published."
    FREE = "A performance is lost to nodes at no try, but for the third time in a row and later."
    SLOT = "A performance is claimed only while a slot is free."
    ENDS = "A run ends."
    HUNG = "A node that is silent, or that does not end an extraction, is given up."
    SMALL = "A node counts as too small for what it can never hold, and no performance fails for that while one fits."
    OWNED = "A slot belongs to a job that is being downloaded there."
    BUSY = "No node has a free slot beside pending work for longer than some seconds."
    KEPT = "A performance goes to a node that has its bytes, as long as one takes work; or stays on one that leaves."

    def require(self, condition: object, law: str) -> None:
        """Note a law that is broken."""
        self.broken[law] += not condition


class SimulatedDisk:
    """The spool of one machine: the share of each file that has arrived. It outlives its nodes."""

    def __init__(self, name: str, is_large: bool) -> None:
        self.name, self.is_large = name, is_large
        self.shares: dict[str, float] = {}


class SimulatedNode:
    """A node from its join to its end; it does its steps in tasks, which an end cancels."""

    def __init__(self, world: ClusterWorld, disk: SimulatedDisk, number: int) -> None:
        self.world, self.disk, self.address = world, disk, f"tcp://{disk.name}.{number}"
        self.stream_open, self.asleep_until, self.alive = True, 0.0, True
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.jobs: dict[str, Values] = {}
        self.leases: set[str] = set()
        self.extracting: dict[int, float] = {}
        """The steps that extract, and since when."""
        self.is_jammed = False
        """True once no extraction ends."""
        self.extractions = asyncio.Semaphore(WORKERS)

    def receive(self, message: Values) -> None:
        """Take a message of the coordinator, once it is awake."""
        if not self.alive:
            return
        if (wait := self.asleep_until - self.world.elapsed()) > 0:
            self.world.loop.call_later(wait, self.receive, message)
        elif message["kind"] == "welcome":
            facts = {"host": "simulated", "spooled": self.spooled(), "free_bytes": 10**12}
            slots = self.world.scenario.slots
            self.send({"kind": "join", "name": self.disk.name, "slots": slots, "workers": WORKERS, **facts})
            self.tasks[0] = self.world.loop.create_task(self._report())
        elif message["kind"] == "step":
            self.tasks[message["number"]] = self.world.loop.create_task(self._step(message))
        elif message["kind"] == "cancel" and message["number"] in self.tasks:
            self.tasks[message["number"]].cancel()
        elif message["kind"] == "release":
            self.jobs.pop(message["performance"], None)
            self.leases.discard(message["performance"])
            if message["ended"]:
                self.disk.shares.pop(message["performance"], None)
        elif message["kind"] == "forget":
            self.disk.shares.pop(message["performance"], None)

    def spooled(self) -> dict[str, int]:
        """Return the bytes that lie on the disk, by performance."""
        return {name: max(1, int(share * 1e9)) for name, share in self.disk.shares.items()}

    def send(self, message: Values) -> None:
        """Send a message once it is awake; one on a stream that has ended reaches nothing."""
        wait = max(0.0, self.asleep_until - self.world.elapsed())
        self.world.loop.call_later(wait + _LATENCY, self._arrive, message)

    def _arrive(self, message: Values) -> None:
        if self.stream_open and self.alive:
            self.world.nodes.received(self.address, message)

    def end(self) -> None:
        """End it, and what it does."""
        self.alive = False
        for task in self.tasks.values():
            task.cancel()

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        while (wait := self.asleep_until - self.world.elapsed()) > 0:  # it does nothing while it hangs
            await asyncio.sleep(wait)

    async def _step(self, message: Values) -> None:
        name, fault = message["performance"], None
        more: Values = {}
        if message["step"] == "reserve":
            self.jobs[name] = message["job"]
            fault = await self._reserve(name)
        elif message["step"] == "download":
            fault = await self._download(name)
        else:
            more, fault = await self._extract(name, message["number"], message["attempt"])
        job = self.jobs.get(name)
        if job is not None:
            spooled = {"raw": "/spool/x"} if self.disk.shares.get(name, 0) >= 1 else {}
            values = {"sources": job["sources"], "spooled": spooled, "spooled_bytes": self.spooled().get(name, 0)}
            values |= {"spool_need": 1, "fetch_mode": "whole", "needs_whole": False, "staging": more.get("staging")}
            outcome = {"kind": "outcome", "number": message["number"], "fault": fault, "job": values}
            self.send({**outcome, "fetched_bytes": 2**21, **more})

    async def _report(self) -> None:
        while True:
            await self._sleep(_REPORT_SECONDS)
            line = {"free_bytes": 10**12, "rate": 0.0, "has_room": True, "connections": 0, "held_back_by": ""}
            running = [number for number, task in self.tasks.items() if number and not task.done()]
            self.send({"kind": "progress", "steps": [self._progress(number) for number in running], **line})

    def _progress(self, number: int) -> Values:
        done = 0 if self.is_jammed else int(self.world.elapsed())
        progress = {"done_bytes": done, "total_bytes": 0, "files": 0, "note": "", "lacks_disk": False}
        return {"number": number, "writes_output": number in self.extracting, "fetched_bytes": 0, **progress}

    async def _reserve(self, name: str) -> Values | None:
        await self._sleep(0.1)
        if self.world.random.random() < 0.02:
            return fault_values(Fault(Cause.NETWORK, "reset"))
        if is_large(name) and not self.disk.is_large:
            return fault_values(Fault(Cause.TOO_LARGE, f"{name} needs more in temp_dir"))
        while name not in self.leases and len(self.leases) >= self.world.scenario.files:
            await self._sleep(1)
        self.leases.add(name)
        orphans = [each for each in self.disk.shares if each not in self.leases]
        for each in orphans[: max(0, len(orphans) + len(self.leases) - self.world.scenario.files)]:
            del self.disk.shares[each]
        return None

    async def _download(self, name: str) -> Values | None:
        while self.disk.shares.get(name, 0) < 1:
            await self._sleep(self.world.random.uniform(2, 12))
            self.disk.shares[name] = self.disk.shares.get(name, 0) + 0.25
            if self.world.random.random() < self.world.scenario.reset_share:
                return fault_values(Fault(Cause.NETWORK, "reset"))
        return None

    async def _extract(self, name: str, number: int, attempt: str) -> tuple[Values, Values | None]:
        async with self.extractions:
            self.extracting[number] = self.world.elapsed()
            await self._sleep(self.world.random.uniform(5, 30))
            while self.is_jammed:
                await self._sleep(5)
            del self.extracting[number]
        path = staging_path(Path(self.jobs[name]["target"]), attempt)
        self.world.sealed(self, path)
        return {"staging": str(path), "record": RECORD}, None


class SimulatedLog:
    """Rows in memory (see `JobLogPort`)."""

    def __init__(self, world: ClusterWorld) -> None:
        self.world = world
        self.rows = {each: PerformanceRow(each, Stage.PENDING) for each in world.planned}
        self.losses: Counter[Performance] = Counter()

    async def claim(self, job: Job) -> PerformanceRow:
        world = self.world
        if world.elapsed() - world.lost_at > 2:
            world.laws.require(world.nodes.open_slots() >= 1, Laws.SLOT)
        return self.rows[job.performance]

    async def enter_stage(self, job: Job) -> None:
        self.rows[job.performance] = replace(self.rows[job.performance], stage=job.stage)

    async def record_spooled(self, job: Job, spooled_bytes: int) -> None:
        return

    def log_start(self, job: Job, spooled_bytes: int) -> None:
        return

    async def record_failure(self, job: Job, decision: RetryDecision, fault: Fault) -> None:
        row = self.rows[job.performance]
        if fault.cause is Cause.TOO_LARGE:
            self.world.events["too large"] += 1
            fits = any(self.world.fits(job.performance, each) for each in self.world.nodes.members.values())
            self.world.laws.require(not fits, Laws.SMALL)
        is_loss = fault.cause is Cause.NODE_LOST or "were lost while" in fault.message
        self.losses[job.performance] = self.losses[job.performance] + 1 if is_loss else 0
        if is_loss:
            charged = self.losses[job.performance] > MAX_LOSSES
            self.world.laws.require(decision.counts_as_try == charged, Laws.FREE)
        tries = row.tries + decision.counts_as_try
        self.rows[job.performance] = replace(row, stage=decision.stage, tries=tries)

    async def record_completed(self, job: Job, record: Record) -> None:
        self.rows[job.performance] = replace(self.rows[job.performance], stage=Stage.COMPLETED)

    async def row(self, job: Job) -> PerformanceRow:
        return self.rows[job.performance]

    async def release(self, job: Job) -> None:
        if self.rows[job.performance].stage in CLAIMED_STAGES:
            self.rows[job.performance] = replace(self.rows[job.performance], stage=Stage.PENDING)


class OutputLease:
    """A promise of the output disk that is always kept."""

    def __init__(self) -> None:
        self.written, self.is_released = (0, 0), False

    def record_written(self, output_bytes: int, output_files: int) -> None:
        """Note what is written."""
        self.written = output_bytes, output_files

    async def release(self) -> None:
        """Note the release."""
        self.is_released = True


class SimulatedStages(ClusterStages):
    """The stages of a cluster without a remote, an output disk and a ledger."""

    async def lookup(self, job: Job, row: PerformanceRow) -> PlannedState:
        job.target = Path("/out", str(job.performance))
        return PlannedState(Stage.COMPLETED if row.stage is Stage.COMPLETED else Stage.PENDING)

    async def look_up_sources(self, job: Job) -> None:
        file = RemoteFile(f"{job.performance}.smc", 10**9, md5="0")
        job.remote_files, job.sources = {Kind.RAW: file}, {Kind.RAW: file.source()}

    async def _promise_output(self, job: Job) -> Any:
        return OutputLease()

    async def _reservation(self, job: Job) -> Values:
        return {"job": job_values(job)}

    async def wait_for_space(self, job: Job) -> None:
        return

    async def publish(self, job: Job, record: Record) -> None:
        cast(ClusterWorld, self.settings).publish(job)


class NoCheck:
    """Lets every node join."""

    def welcome(self) -> Values:
        return {}

    def refusal(self, facts: Values) -> None:
        return None


class ClusterWorld:
    """Machines, their nodes, and one run; what happens is drawn from a seed."""

    def __init__(self, loop: VirtualLoop, seed: int, scenario: Scenario) -> None:
        self.loop, self.random, self.laws, self.scenario = loop, Random(seed), Laws(), scenario
        time = SimulatedTime(loop, START)
        self.elapsed: Callable[[], float] = time.elapsed
        self.clock = Clock(time.now, time.elapsed, self.random.random)
        self.planned = [Performance(f"{n // 20:04d}", f"e{n % 20}") for n in range(scenario.performances)]
        self.scheduler = Scheduler(clock=self.clock)
        self.nodes = Nodes(cast(Any, NoCheck()), lambda note: None, self.scheduler.ended, clock=self.clock)
        self.nodes.send = self._deliver
        self.disks = [SimulatedDisk(f"machine{number}", number % 3 == 0) for number in range(scenario.machines)]
        self.running: dict[str, SimulatedNode] = {}
        self.published: Counter[Performance] = Counter()
        self.sealed_by: dict[Path, tuple[SimulatedNode, bool]] = {}
        self.lost_at, self._number = float("-inf"), 0
        self._idle_since: float | None = None
        self.events: Counter[str] = Counter()

    async def run(self) -> None:
        """Play it to the end of the run."""
        log = SimulatedLog(self)
        self.log = log
        for each in self.planned:
            self.scheduler.update(each, PlannedState(Stage.PENDING))
        nothing = dict.fromkeys(("downloader", "range_downloader", "budget", "worker_limits", "workers"))
        parts: dict[str, Any] = {"settings": self, "job_log": log, "clock": self.clock, **nothing}
        stages = SimulatedStages(**parts, nodes=self.nodes, scheduler=self.scheduler)
        async with anyio.create_task_group() as tasks:
            for disk in self.disks:
                tasks.start_soon(self._live, disk)
            tasks.start_soon(self._watch)
            tasks.start_soon(end_hung, self.nodes, self._disconnect, _BOUNDS, self.clock)
            with anyio.move_on_after(self.scenario.max_hours * 3600) as too_long:
                await run_pipeline(self.scheduler, stages, Width(64, 256), RetryPolicy(max_retries=9), self.clock)
            tasks.cancel_scope.cancel()
        self.laws.require(not too_long.cancelled_caught, Laws.ENDS)
        for each in self.planned:
            is_too_large = is_large(str(each)) and log.rows[each].stage in FAILURES
            self.laws.require(self.published[each] == (0 if is_too_large else 1), Laws.ONCE)

    def fits(self, performance: Performance, member: Member) -> bool:
        """Return True if a node can hold a performance."""
        return not is_large(str(performance)) or self.running[member.address].disk.is_large

    def publish(self, job: Job) -> None:
        """Publish a job's folder."""
        assert job.staging_dir is not None
        self.published[job.performance] += 1
        _, was_member = self.sealed_by[job.staging_dir]
        self.laws.require(was_member, Laws.FENCED)

    def sealed(self, node: SimulatedNode, path: Path) -> None:
        """Note that a node has sealed a folder."""
        self.laws.require(path not in self.sealed_by, Laws.ONCE)
        self.sealed_by[path] = node, node.stream_open
        self.events["sealed after its loss"] += not node.stream_open

    def _deliver(self, address: str, message: Values) -> None:
        node = self.running.get(address)
        if node is not None and node.stream_open:
            self._check_placement(node, message)
            self.loop.call_later(_LATENCY, node.receive, message)

    def _check_placement(self, node: SimulatedNode, message: Values) -> None:
        if message["kind"] == "step" and message["step"] == "reserve":
            subject, name = message["performance"].split("/")
            performance, now = Performance(subject, name), self.elapsed()
            members = [each for each in self.nodes.members.values() if each.is_open(now)]
            holders = [each.address for each in members if each.spooled.get(performance)]
            leaves = self.nodes.members[node.address].leaves
            self.laws.require(leaves or not holders or node.address in holders, Laws.KEPT)

    def _give_up(self, node: SimulatedNode, what: str) -> None:
        """End a node's membership, as Dask does when its stream breaks or it was silent for too long."""
        if node.stream_open:
            self.events[what] += 1
            node.stream_open, self.lost_at = False, self.elapsed()
            self.nodes.removed(node.address)

    async def _disconnect(self, address: str) -> None:
        """End the stream of a node that hangs."""
        node = self.running[address]
        self.events["stood still" if node.is_jammed else "fell silent"] += 1
        node.stream_open, self.lost_at = False, self.elapsed()

    async def _live(self, disk: SimulatedDisk) -> None:
        """Start nodes on a machine, one after the other, and have something happen to each."""
        await asyncio.sleep(self.disks.index(disk) if self.scenario.is_calm else self.random.uniform(0, 40))
        happens = [self._kill, self._hang, self._hang, self._cut, self._leave, self._fall_silent, self._jam]
        while True:
            self._number += 1
            node = SimulatedNode(self, disk, self._number)
            self.running[node.address] = node
            self.nodes.added(node.address)
            await asyncio.sleep(10**9 if self.scenario.is_calm else self.random.uniform(30, 500))
            await self.random.choice(happens)(node)
            await asyncio.sleep(self.random.uniform(1, 60))

    async def _kill(self, node: SimulatedNode) -> None:
        node.end()
        self._give_up(node, "killed")

    async def _hang(self, node: SimulatedNode) -> None:
        """Hang for a while, which the coordinator notices if it is long; then it continues what it did."""
        seconds = self.random.uniform(5, 200)
        node.asleep_until = self.elapsed() + seconds
        await asyncio.sleep(min(seconds, _SILENT_SECONDS))
        if seconds > _SILENT_SECONDS:
            self._give_up(node, "hung")
            await asyncio.sleep(seconds - _SILENT_SECONDS + self.random.uniform(0, 20))  # until it knows
            node.end()
        else:
            await asyncio.sleep(60)
            await self._kill(node)

    async def _cut(self, node: SimulatedNode) -> None:
        """Cut it off: both ends notice after half a minute, and it works on until then."""
        send, node.send = node.send, lambda message: None  # type: ignore[method-assign]
        await asyncio.sleep(30)
        self._give_up(node, "cut off")
        await asyncio.sleep(self.random.uniform(0, 30))
        node.send = send  # type: ignore[method-assign]
        node.end()

    async def _fall_silent(self, node: SimulatedNode) -> None:
        """Have it report nothing and answer to nothing any more, while its stream stays."""
        node.send = lambda message: None  # type: ignore[method-assign]
        await asyncio.sleep(_BOUNDS.silent + _BOUNDS_TOLERANCE)
        self.laws.require(not node.stream_open, Laws.HUNG)
        node.end()
        self._give_up(node, "was silent to the end")

    async def _jam(self, node: SimulatedNode) -> None:
        """Have none of its extractions end, until one has lasted for too long."""
        node.is_jammed = True
        until = self.elapsed() + 600
        while node.stream_open and self.elapsed() < until:
            await asyncio.sleep(5)
            since = min(node.extracting.values(), default=self.elapsed())
            is_overdue = self.elapsed() - since > _BOUNDS.extraction + _BOUNDS_TOLERANCE
            self.laws.require(not (is_overdue and node.stream_open), Laws.HUNG)
        node.end()
        self._give_up(node, "had nothing to extract")

    async def _leave(self, node: SimulatedNode) -> None:
        node.send({"kind": "leaving", "reason": "SIGTERM"})
        await asyncio.sleep(20)
        node.end()
        self._give_up(node, "left")

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(1)
            now = self.elapsed()
            is_idle = bool(self.scheduler.pending) and open_slots(self.nodes.members.values(), now) > 0
            self._idle_since = (self._idle_since or now) if is_idle else None
            self.laws.require(self._idle_since is None or now - self._idle_since < _MAX_IDLE_SECONDS, Laws.BUSY)
            for member in self.nodes.members.values():
                self.laws.require(not any(self.fits(each, member) for each in member.too_small_for), Laws.SMALL)
                self.laws.require(all(map(self._is_downloaded, member.downloading)), Laws.OWNED)

    def _is_downloaded(self, performance: Performance) -> bool:
        job = self.scheduler.active.get(performance)
        holders = sum(performance in member.downloading for member in self.nodes.members.values())
        return job is not None and job.stage is Stage.DOWNLOADING and holders == 1


def is_large(name: str) -> bool:
    """Return True for a performance that only large machines can hold."""
    return name.endswith("7")


def play(seed: int, scenario: Scenario = WILD) -> ClusterWorld:
    """Play a round; return the world at its end."""
    worlds: list[ClusterWorld] = []

    async def main(loop: VirtualLoop) -> None:
        worlds.append(ClusterWorld(loop, seed, scenario))
        await worlds[0].run()

    run_virtually(main, lambda: None)
    return worlds[0]
