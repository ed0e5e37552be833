"""A cluster in virtual time: the real scheduler, pipeline, placement and stages of a cluster, on nodes that are lost.

A node is a model: it answers messages after some seconds, has a disk that outlives it, and is killed, hangs and wakes
up, is cut off, or leaves. Its stream ends when the coordinator gives it up; what it sends afterwards reaches nothing,
and what it writes afterwards must be published by nothing. The laws are sentences in `Laws`.
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

from rm360_async.cluster.losses import MAX_LOSSES
from rm360_async.cluster.nodes import Nodes
from rm360_async.cluster.stages import ClusterStages
from rm360_async.cluster.values import Values, fault_values, job_values
from rm360_async.domain.clock import Clock
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Kind, Performance
from rm360_async.domain.record import Record, RemoteFile
from rm360_async.domain.retry import RetryDecision, RetryPolicy
from rm360_async.domain.stage import CLAIMED_STAGES, Stage
from rm360_async.domain.state import PerformanceRow, PlannedState
from rm360_async.pipeline.job import Job
from rm360_async.pipeline.pipeline import Width
from rm360_async.pipeline.pipeline import run as run_pipeline
from rm360_async.pipeline.scheduler import Scheduler
from rm360_async.store.staging import staging_path
from simulation.clock import START, SimulatedTime, VirtualLoop, run_virtually

SLOTS, WORKERS = 3, 2
_SILENT_SECONDS, _LATENCY = 60.0, 0.02
_MAX_IDLE_SECONDS = 15.0
RECORD: dict[str, Any] = {
    "subject": "0018", "performance": "e0", "version": "1", "published": "", "sources": [], "wanted_cameras": "all",
    "wanted_modalities": [], "modalities": [], "absent": [], "cameras": {}, "frames": 0, "fps": None, "left_out": [],
    "files": 0, "bytes": 0, "schema": 1,
}  # fmt: skip


@dataclass
class Laws:
    """What must hold, and how often it was broken."""

    broken: Counter[str] = field(default_factory=Counter)
    ONCE = "Each performance is published once, from the folder that its last attempt has sealed."
    FENCED = "Nothing that a node seals after it was given up is published."
    FREE = "A performance is lost to nodes at no try, but for the third time in a row and later."
    SLOT = "A performance is claimed only while a slot is free."
    BUSY = "No node has a free slot beside pending work for longer than some seconds."
    KEPT = "A performance goes to a node that has its bytes, as long as one takes work; or stays on one that leaves."

    def require(self, condition: object, law: str) -> None:
        """Note a law that is broken."""
        self.broken[law] += not condition


class SimulatedDisk:
    """The spool of one machine: the share of each file that has arrived. It outlives its nodes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.shares: dict[str, float] = {}


class SimulatedNode:
    """A node from its join to its end; it does its steps in tasks, which an end cancels."""

    def __init__(self, world: ClusterWorld, disk: SimulatedDisk, number: int) -> None:
        self.world, self.disk, self.address = world, disk, f"tcp://{disk.name}.{number}"
        self.stream_open, self.asleep_until, self.alive = True, 0.0, True
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.jobs: dict[str, Values] = {}
        self.extractions = asyncio.Semaphore(WORKERS)

    def receive(self, message: Values) -> None:
        """Take a message of the coordinator, once it is awake."""
        if not self.alive:
            return
        if (wait := self.asleep_until - self.world.elapsed()) > 0:
            self.world.loop.call_later(wait, self.receive, message)
        elif message["kind"] == "welcome":
            facts = {"host": "simulated", "spooled": self.spooled(), "free_bytes": 10**12}
            self.send({"kind": "join", "name": self.disk.name, "slots": SLOTS, "workers": WORKERS, **facts})
        elif message["kind"] == "step":
            self.tasks[message["number"]] = self.world.loop.create_task(self._step(message))
        elif message["kind"] == "cancel" and message["number"] in self.tasks:
            self.tasks[message["number"]].cancel()
        elif message["kind"] == "release":
            self.jobs.pop(message["performance"], None)
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
            await self._sleep(0.1)
        elif message["step"] == "download":
            fault = await self._download(name)
        else:
            more, fault = await self._extract(name, message["attempt"])
        job = self.jobs.get(name)
        if job is not None:
            spooled = {"raw": "/spool/x"} if self.disk.shares.get(name, 0) >= 1 else {}
            values = {"sources": job["sources"], "spooled": spooled, "spooled_bytes": self.spooled().get(name, 0)}
            values |= {"spool_need": 1, "fetch_mode": "whole", "needs_whole": False, "staging": more.get("staging")}
            outcome = {"kind": "outcome", "number": message["number"], "fault": fault, "job": values}
            self.send({**outcome, "fetched_bytes": 2**21, **more})

    async def _download(self, name: str) -> Values | None:
        while self.disk.shares.get(name, 0) < 1:
            await self._sleep(self.world.random.uniform(2, 12))
            self.disk.shares[name] = self.disk.shares.get(name, 0) + 0.25
            if self.world.random.random() < 0.01:
                return fault_values(Fault(Cause.NETWORK, "reset"))
        return None

    async def _extract(self, name: str, attempt: str) -> tuple[Values, Values | None]:
        async with self.extractions:
            await self._sleep(self.world.random.uniform(5, 30))
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

    def __init__(self, loop: VirtualLoop, seed: int, machines: int, performances: int) -> None:
        self.loop, self.random, self.laws = loop, Random(seed), Laws()
        time = SimulatedTime(loop, START)
        self.elapsed: Callable[[], float] = time.elapsed
        self.clock = Clock(time.now, time.elapsed, self.random.random)
        self.planned = [Performance(f"{n // 20:04d}", f"e{n % 20}") for n in range(performances)]
        self.scheduler = Scheduler(clock=self.clock)
        self.nodes = Nodes(cast(Any, NoCheck()), lambda note: None, self._is_published, clock=self.clock)
        self.nodes.send = self._deliver
        self.disks = [SimulatedDisk(f"machine{number}") for number in range(machines)]
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
            await run_pipeline(self.scheduler, stages, Width(64, 256), RetryPolicy(max_retries=9), self.clock)
            tasks.cancel_scope.cancel()
        for each in self.planned:
            self.laws.require(self.published[each] == 1, Laws.ONCE)

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

    def _is_published(self, performance: Performance) -> bool:
        return self.published[performance] > 0

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

    async def _live(self, disk: SimulatedDisk) -> None:
        """Start nodes on a machine, one after the other, and have something happen to each."""
        await asyncio.sleep(self.random.uniform(0, 40))
        while True:
            self._number += 1
            node = SimulatedNode(self, disk, self._number)
            self.running[node.address] = node
            self.nodes.added(node.address)
            await asyncio.sleep(self.random.uniform(30, 500))
            await self.random.choice([self._kill, self._hang, self._hang, self._cut, self._leave])(node)
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

    async def _leave(self, node: SimulatedNode) -> None:
        node.send({"kind": "leaving", "reason": "SIGTERM"})
        await asyncio.sleep(20)
        node.end()
        self._give_up(node, "left")

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(1)
            now = self.elapsed()
            is_idle = bool(self.scheduler.pending) and self.nodes.open_slots() > 0
            self._idle_since = (self._idle_since or now) if is_idle else None
            self.laws.require(self._idle_since is None or now - self._idle_since < _MAX_IDLE_SECONDS, Laws.BUSY)


def play(seed: int, machines: int = 16, performances: int = 800) -> ClusterWorld:
    """Play a round; return the world at its end."""
    worlds: list[ClusterWorld] = []

    async def main(loop: VirtualLoop) -> None:
        worlds.append(ClusterWorld(loop, seed, machines, performances))
        await worlds[0].run()

    run_virtually(main, lambda: None)
    return worlds[0]
