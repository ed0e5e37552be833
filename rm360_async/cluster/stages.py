"""The stages of a job in a cluster: what needs a spool, a line or cores is a step on a node, the rest happens here."""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import dataclass

import anyio

from rm360_async.budget import Lease
from rm360_async.cluster.members import Member
from rm360_async.cluster.node_lease import NodeLease
from rm360_async.cluster.nodes import Nodes
from rm360_async.cluster.values import DOWNLOAD, EXTRACT, FAILED, PUBLISHED, RESERVE, Values, job_values, record_from
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.node_state import NodeState
from rm360_async.domain.record import Record
from rm360_async.domain.stage import Stage
from rm360_async.pipeline.job import Job
from rm360_async.pipeline.pipeline import Width
from rm360_async.pipeline.scheduler import Scheduler
from rm360_async.stages.reserve import BYTES_PER_FILE, plan_download, reporting
from rm360_async.stages.stages import Stages
from rm360_async.store.staging import staging_path
from rm360_async.system.exception_groups import unwraps_faults
from rm360_async.system.fault_points import reach
from rm360_async.system.log import logger

log = logger(__name__)
_POLL_SECONDS = 0.1
_NO_NODE = "waiting for a node to join"
_FULL_SECONDS, _FULL_EXCLUSION_SECONDS = 5.0, 300.0
"""How long a job waits for the full disk of one node while another is free, and how long that gets nothing then."""


@dataclass(frozen=True, kw_only=True)
class ClusterStages(Stages):
    """`Stages` of which the nodes do some. Raises Fault(NODE_LOST) for a job whose node is lost."""

    nodes: Nodes
    scheduler: Scheduler

    @property
    def fetched_bytes(self) -> int:
        """Return the bytes that crossed the network in this run, on all nodes."""
        return self.nodes.steps.fetched_bytes

    @property
    def width(self) -> Width:
        """Return how many downloads and extractions run at once on all nodes, at most: tasks of some kilobytes each."""
        return Width(256, 1024)

    def line(self) -> tuple[int, str]:
        """Return how many connections all nodes have, and what bounds most of these."""
        members = self.nodes.members.values()
        bounds = Counter(member.held_back_by for member in members if member.held_back_by)
        most = bounds.most_common(1)
        return sum(member.connections for member in members), most[0][0] if most else ""

    def node_states(self) -> tuple[NodeState, ...]:
        """Return the nodes as `status` shows them, by name."""
        now = self.clock.monotonic()
        members = sorted(self.nodes.members.values(), key=lambda member: member.name)
        return tuple(member.snapshot(now) for member in members)

    async def wait_for_turn(self) -> None:
        """Return when a node could begin another job, so that none is claimed before."""
        while self.nodes.open_slots() <= self._coming():
            self._show_lack_of_nodes()
            await anyio.sleep(_POLL_SECONDS)

    def begin_turn(self, job: Job) -> None:
        """Do nothing: a job on the way to a slot is seen by its stage."""

    def end_turn(self, job: Job) -> None:
        """Do nothing."""

    def _coming(self) -> int:
        """Return how many jobs are on the way to a slot, beside those that wait for one."""
        begun = [job for job in self.scheduler.active.values() if job.stage is Stage.DOWNLOADING and job.lease is None]
        return sum(1 for job in begun if not self.nodes.has_or_awaits_slot(job.performance))

    def _show_lack_of_nodes(self) -> None:
        if self.scheduler.trouble in ("", _NO_NODE):
            self.scheduler.trouble = "" if self.nodes.members else _NO_NODE

    async def probe_workers(self) -> None:
        """Do nothing: each node tries a worker before it joins."""

    async def reserve(self, job: Job) -> None:
        """Place the job, promise it space on the output disk, and have the node reserve space in its spool."""
        lease = await self._kept_lease(job)
        while True:
            lease = lease or await self._take_lease(job)
            try:
                if await self._reserve_on(job, lease):
                    job.lease = lease
                    return
            except Fault as fault:
                if fault.cause is not Cause.TOO_LARGE:
                    raise
                lease.member.too_small_for.add(job.performance)
                if self.nodes.all_are_too_small(job.performance):
                    raise
            lease = None

    async def _kept_lease(self, job: Job) -> NodeLease | None:
        """Return the lease that a job has where it may go on, with a slot there; one elsewhere is released."""
        lease = job.lease
        if isinstance(lease, NodeLease) and lease.member.is_open(self.clock.monotonic()):
            self.nodes.take_slot(lease.member, job.performance)
            return lease
        await job.release_lease()
        return None

    async def _reserve_on(self, job: Job, lease: NodeLease) -> bool:
        """Have a node reserve space; return False if its disk is full, and the job is placed on another one."""
        with unwraps_faults():
            try:
                values = await self._reservation(job)
                with anyio.CancelScope() as scope:
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(self._cancel_when_full, job, lease.member, scope)
                        await self._perform(job, lease, RESERVE, values)
                        tasks.cancel_scope.cancel()
                        return True
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await self._drop(job, lease)
                raise
        await self._drop(job, lease)
        return False

    async def _cancel_when_full(self, job: Job, member: Member, scope: anyio.CancelScope) -> None:
        full_since = None
        while True:
            await anyio.sleep(1)
            now = self.clock.monotonic()
            full_since = (full_since or now) if job.progress.lacks_disk else None
            if (
                full_since is not None
                and now - full_since >= _FULL_SECONDS
                and self.nodes.has_open_beside(member, job.performance)
            ):
                log.warning(f"node {member.name} gets no jobs for a while, because its disk is full")
                member.excluded_until = now + _FULL_EXCLUSION_SECONDS
                scope.cancel()

    async def _take_lease(self, job: Job) -> NodeLease:
        member = await self.nodes.place(job)
        try:
            output = await self._promise_output(job)
        except BaseException:
            self.nodes.free_slot(member, job.performance)
            raise
        log.debug(f"{job.performance} is placed on node {member.name}")
        return NodeLease(member, output, lambda ended: self.nodes.release(member, job.performance, ended))

    async def _promise_output(self, job: Job) -> Lease:
        ratios = await self.job_log.ledger.hints.ratios()
        size = await plan_download(job, ratios, self.policy.structure, self.settings.processing.fetch)
        name, files = str(job.performance), size // BYTES_PER_FILE
        return await self.budget.lease(name, 0, size, files, on_wait=reporting(job))

    async def _reservation(self, job: Job) -> Values:
        hints, paths = self.job_log.ledger.hints, [file.path for file in job.remote_files.values()]
        keys = [f"mismatch {path}" for path in paths]
        meta = {key: value for key in keys if (value := await hints.get_meta(key)) is not None}
        quotas = [(*key, until) for key, until in (await hints.quotas()).items() if key[1] in paths]
        return {"job": job_values(job), "quotas": quotas, "meta": meta, "ratios": await hints.ratios()}

    async def wait_for_space(self, job: Job) -> None:
        """Wait until what the job has still to write fits on the output disk; the node waits for its own."""
        if isinstance(job.lease, NodeLease):
            await self.budget.wait_for_space(job.lease.output, on_wait=reporting(job))

    async def download(self, job: Job) -> None:
        """Have the node download what its spool lacks; its slot is free afterwards."""
        lease = self._lease_of(job)
        try:
            if "download" not in job.seconds:
                await self.job_log.record_spooled(job, job.spooled_bytes)
                self.job_log.log_start(job, job.spooled_bytes)
            await self._perform(job, lease, DOWNLOAD, {})
        finally:
            self.nodes.free_slot(lease.member, job.performance)
        reach("downloaded on a node")

    async def extract(self, job: Job) -> Record:
        """Have the node extract into a sealed staging folder beside the final one, whose name is chosen here.

        The folder of a node that is lost is never renamed: nothing has its name but this attempt.
        """
        lease, attempt = self._lease_of(job), secrets.token_hex(4)
        staging = staging_path(job.target, attempt)
        reach("ready to extract on a node")
        try:
            outcome = await self._perform(job, lease, EXTRACT, {"attempt": attempt})
        except Fault:
            if lease.member.lost:
                self.nodes.abandoned.append(staging)
            if job.lease is lease:  # the node has removed what it wrote: all of the promise is open again
                lease.record_written(0, 0)
            raise
        reach("extracted on a node")
        if job.staging_dir != staging:
            raise Fault(Cause.UNKNOWN, f"node {lease.member.name} returned {job.staging_dir}, not {staging}")
        return record_from(outcome["record"])

    async def cleanup(self, job: Job, *, published: bool) -> None:
        """Have the node remove or quarantine the job's files when the lease is released."""
        if isinstance(job.lease, NodeLease):
            job.lease.ended = PUBLISHED if published else FAILED
        job.forget_spooled()

    def _lease_of(self, job: Job) -> NodeLease:
        if not isinstance(job.lease, NodeLease):
            raise Fault(Cause.NODE_LOST, f"{job.performance} is on no node any more")
        return job.lease

    async def _perform(self, job: Job, lease: NodeLease, step: str, values: Values) -> Values:
        """Have a step done; what was on a node that is lost, leaves or cannot work is given up."""
        try:
            return await self.nodes.steps.perform(job, lease.member, step, values)
        except Fault as fault:
            if lease.member.lost or lease.member.leaves or fault.cause is Cause.NODE_UNFIT:
                await self._drop(job, lease)
            raise

    async def _drop(self, job: Job, lease: NodeLease) -> None:
        job.lease = None
        job.forget_spooled()
        await lease.release()
