"""The steps that nodes do for jobs: each is begun by a message and ended by another.

Both are on the stream whose end is the end of the membership; so a step without an outcome has a node, or ends as lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import anyio

from rm360_async.cluster.losses import Losses, fault_of_node, is_not_seen, note_failure, note_success
from rm360_async.cluster.members import Member
from rm360_async.cluster.values import EXTRACT, Values, apply_outcome, fault_from
from rm360_async.domain.clock import Clock
from rm360_async.domain.errors import Cause, Fault
from rm360_async.pipeline.job import Job
from rm360_async.system.log import logger

log = logger(__name__)
Send = Callable[[str, Values], None]


@dataclass
class _Step:
    """One step of a job on a node."""

    member: Member
    job: Job
    name: str
    ended: anyio.Event = field(default_factory=anyio.Event)
    outcome: Values | None = None
    """What the node returned; None if it was lost."""
    counted: int = 0
    """Bytes that crossed the network in it, as far as they are counted."""
    progressed_at: float = 0.0
    """When (monotonic seconds) it was last seen to write more, or to wait for its turn; for an extraction."""


class Steps:
    """The steps that are being done."""

    def __init__(self, send: Send, clock: Clock) -> None:
        self._send, self._clock = send, clock
        self.fetched_bytes = 0
        """Bytes that crossed the network on all nodes."""
        self._losses = Losses()
        self._steps: dict[int, _Step] = {}
        self._number = 0

    async def perform(self, job: Job, member: Member, step: str, values: Values) -> Values:
        """Have a node do a step of a job; return its outcome, which is applied to the job.

        Cancelled, the node stops it. Raises the node's Fault, or that of its loss.
        """
        if member.lost:
            raise self._losses.lost(job.performance, member.name)
        self._number += 1
        number, running = self._number, _Step(member, job, step, progressed_at=self._clock.monotonic())
        self._steps[number] = running
        member.jobs.add(job.performance)
        message = {"kind": "step", "number": number, "step": step, "performance": str(job.performance), **values}
        try:
            self._send(member.address, message)
            await running.ended.wait()
        finally:
            del self._steps[number]
            if not running.ended.is_set():
                self._send(member.address, {"kind": "cancel", "number": number})
        if running.outcome is None:
            raise self._losses.lost(job.performance, member.name)
        return self._result(running, running.outcome)

    def _result(self, step: _Step, outcome: Values) -> Values:
        job, member = step.job, step.member
        self._count(step, outcome["fetched_bytes"])
        apply_outcome(job, outcome["job"])
        member.spooled[job.performance] = job.spooled_bytes
        if outcome["fault"] is None:
            if "record" in outcome:
                self._losses.extracted(job.performance)
            note_success(member, step.name)
            return outcome
        self._losses.survived(job.performance)
        raise self._judged(step, fault_of_node(fault_from(outcome["fault"]), member))

    def _judged(self, step: _Step, fault: Fault) -> Fault:
        """Return the fault of a step as the performance's: where all fails, or a file is not seen, it is the node's."""
        member, performance, now = step.member, step.job.performance, self._clock.monotonic()
        was_excluded = member.excluded_until > now
        is_excluded, is_unseen = note_failure(member, performance, step.name, fault, now), is_not_seen(fault, step.name)
        if is_excluded and not was_excluded:
            log.warning(f"node {member.name} gets no jobs for a while, because all fails there: {fault}")
        if is_unseen:
            member.unseen.add(performance)
        if fault.cause is Cause.NODE_UNFIT or not (is_excluded or is_unseen):
            return fault
        if not self._losses.moves_free(performance):
            return fault
        what = "does not see what the run has found" if is_unseen else "fails at all"
        return Fault(Cause.NODE_UNFIT, f"node {member.name} {what}: {fault.message}", fault.hint)

    def lost(self, member: Member) -> None:
        """End the steps of a node that is gone."""
        for step in list(self._steps.values()):
            if step.member is member:
                step.ended.set()

    def slowest_extraction(self, member: Member, now: float) -> float:
        """Return the seconds for which an extraction on a node has not progressed, the most; 0 if it has none."""
        steps = [step for step in self._steps.values() if step.member is member and step.name == EXTRACT]
        return max((now - step.progressed_at for step in steps), default=0.0)

    def take_outcome(self, member: Member, message: Values) -> None:
        """Take the message that ends a step; nothing waits for that of an attempt that was given up."""
        step = self._steps.get(message["number"])
        if step is not None and step.member is member:
            step.outcome = message
            step.ended.set()

    def take_progress(self, member: Member, message: Values) -> None:
        """Take the report of a node, and of the steps that it is doing."""
        member.free_bytes, member.rate = message["free_bytes"], message["rate"]
        member.has_room = message["has_room"]
        member.connections, member.held_back_by = message["connections"], message["held_back_by"]
        for values in message["steps"]:
            step = self._steps.get(values["number"])
            if step is not None and step.member is member:
                self._apply_progress(step, values)

    def _apply_progress(self, step: _Step, values: Values) -> None:
        job, progress = step.job, step.job.progress
        written = values["done_bytes"], values["files"]
        if not values["writes_output"] or written != (progress.done_bytes, progress.files):
            step.progressed_at = self._clock.monotonic()
        progress.done_bytes, progress.total_bytes = values["done_bytes"], values["total_bytes"]
        progress.files, progress.note = values["files"], values["note"]
        progress.lacks_disk = values["lacks_disk"]
        if values["writes_output"] and job.lease is not None:
            job.lease.record_written(progress.done_bytes, progress.files)
        self._count(step, values["fetched_bytes"])

    def _count(self, step: _Step, fetched_bytes: int) -> None:
        """Count what has crossed the network in a step since its last report."""
        more, step.counted = fetched_bytes - step.counted, fetched_bytes
        step.job.fetched_bytes += more
        self.fetched_bytes += more
