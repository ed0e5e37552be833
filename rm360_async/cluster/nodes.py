"""The nodes of a run: who is a member, and which jobs each has. What they do for a job is in `steps`.

Mutable state: the members and the jobs that wait for one, touched only in the event loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import anyio

from rm360_async.cluster.join import JoinCheck
from rm360_async.cluster.members import Member, choose_member, open_slots
from rm360_async.cluster.shared_limits import SharedLimits
from rm360_async.cluster.steps import Send, Steps
from rm360_async.cluster.values import PUBLISHED, Values, performance_from
from rm360_async.domain.clock import SYSTEM_CLOCK, Clock
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Performance
from rm360_async.domain.stage import FAILURES, Stage
from rm360_async.pipeline.job import Job
from rm360_async.system.changed import Changed
from rm360_async.system.log import logger

log = logger(__name__)
_RECHECK_SECONDS = 1.0
_EXPECTED_SECONDS = 10.0
"""How long nothing is placed because nodes of the run before have not joined yet: each looks for a run every second."""


class Nodes:
    """Members and placement; `on_note` gets what a node's download has found out (quota, meta)."""

    def __init__(
        self,
        check: JoinCheck,
        on_note: Callable[[Values], None],
        ended: Mapping[Performance, Stage],
        expected: Iterable[str] = (),
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """`ended`: how each performance has ended that has. `expected`: the names of the nodes that the run before had.

        These may have bytes of what is placed first.
        """
        self._check, self._on_note, self._ended, self._clock = check, on_note, ended, clock
        self._expected, self._expected_until = set(expected), math.inf
        self.members: dict[str, Member] = {}
        """By the addresses of their streams: those that have joined."""
        self.is_closing = False
        """True once the run has ended: its nodes are gone with it."""
        self.changed = Changed()
        self.waiting: dict[Performance, bool] = {}
        """Jobs that wait for a slot; True: for that of the node that has their bytes."""
        self.abandoned: list[Path] = []
        """Staging folders of nodes that were lost while they extracted."""
        self.send: Send = lambda address, message: None
        """Sends a message to the node with a stream's address; set once there are streams."""
        self.steps = Steps(lambda address, message: self.send(address, message), clock)
        self._limits = SharedLimits(lambda address, message: self.send(address, message), clock)

    # what the streams report

    def added(self, address: str) -> None:
        """Greet a node that has just connected: it answers with what it is."""
        self.send(address, {"kind": "welcome", **self._check.welcome()})

    def removed(self, address: str, reason: str = "") -> None:
        """Note that a node is gone, or given up for a reason; its steps end as lost."""
        member = self.members.pop(address, None)
        if member is None:
            return
        member.lost = True
        if self.is_closing:
            return
        self._limits.removed(address, self.members)
        write = log.info if member.leaves and not member.jobs else log.warning
        write(f"node {member.name} is {f'lost: {reason}' if reason else 'gone'}", jobs=len(member.jobs))
        self.steps.lost(member)
        self._notify_number()

    def received(self, address: str, message: Values) -> None:
        """Take a message of a node."""
        kind, member = message["kind"], self.members.get(address)
        if kind == "join":
            self._join(address, message)
        elif member is not None:
            member.heard_at = self._clock.monotonic()
            self._take(member, kind, message)

    def _take(self, member: Member, kind: str, message: Values) -> None:
        if kind == "progress":
            self.steps.take_progress(member, message)
            if member.has_room:
                self.changed.notify()
        elif kind == "outcome":
            self.steps.take_outcome(member, message)
        elif kind == "leaving":
            log.info(f"node {member.name} leaves: {message['reason']}")
            member.leaves = True
            self._limits.removed(member.address, self.members)
            self.changed.notify()
        elif kind == "log":
            log.warning(f"node {member.name}: {message['text']}")
        elif kind in ("limit", "limit over"):
            self._limits.take(member.address, message, self.members)
        elif kind == "note":
            self._on_note(message)

    def _join(self, address: str, facts: Values) -> None:
        reason = self._check.refusal(facts)
        if reason is not None:
            log.warning(f"node {facts['name']} was refused: {reason}")
            self.send(address, {"kind": "refused", "reason": reason})
            return
        names = {member.name for member in self.members.values()}
        name = next(each for each in _names(facts["name"]) if each not in names)
        spooled = {performance_from(key): size for key, size in facts["spooled"].items()}
        member = Member(address, name, facts["slots"], spooled, facts["free_bytes"])
        member.heard_at = self._clock.monotonic()
        self.members[address] = member
        what = f"{facts['slots']} downloads, {facts['workers']} extractions at once"
        log.info(f"node {name} has joined: {what}", host=facts["host"], spooled=len(spooled))
        self.send(address, {"kind": "accepted", "name": name})
        stages = {each: self._ended.get(each) for each in spooled}
        for performance in [each for each, stage in stages.items() if stage is Stage.COMPLETED]:
            self._forget(member, performance)
        failed = [str(each) for each, stage in stages.items() if stage in FAILURES]
        self.send(address, {"kind": "failed", "performances": failed})
        self._limits.added(address)
        self._expected.discard(facts["name"])
        self._on_note({"nodes": sorted(names | {name})})
        self._notify_number()

    def drain(self, name: str) -> str:
        """Have a node finish what it has, and leave; return what is done, in a sentence, or that there is none."""
        for member in self.members.values():
            if member.name == name:
                member.leaves = True
                self.send(member.address, {"kind": "leave"})
                return f"node {name} finishes {len(member.jobs)} performances, and leaves"
        names = ", ".join(sorted(member.name for member in self.members.values())) or "none"
        return f"error: no node is called {name}; the nodes are: {names}"

    def _forget(self, member: Member, performance: Performance) -> None:
        """Have a node remove what it has of a published performance."""
        member.spooled.pop(performance, None)
        self.send(member.address, {"kind": "forget", "performance": str(performance)})

    def _notify_number(self) -> None:
        """Let each node know how many share the accounts, and look again what can be placed."""
        for address in self.members:
            self.send(address, {"kind": "nodes", "count": len(self.members)})
        self.changed.notify()

    # placement

    def open_slots(self) -> int:
        """Return how many more jobs could begin, beside those that wait for a slot already.

        At first none, until the nodes of the run before have joined, for some seconds.
        """
        now = self._clock.monotonic()
        if self._expected:
            self._expected_until = min(self._expected_until, now + _EXPECTED_SECONDS)
            if now < self._expected_until:
                return 0
        free = [member for member in self.members.values() if member.is_open(now) and member.free_slots]
        anywhere = [performance for performance, is_for_one in self.waiting.items() if not is_for_one]
        takers = sum(1 for each in anywhere if any(each not in member.too_small_for for member in free))
        return sum(member.free_slots for member in free) - takers

    def has_open_beside(self, member: Member, performance: Performance) -> bool:
        """Return True if another node has a free slot, and may be able to hold a performance."""
        others = [each for each in self.members.values() if each is not member]
        fitting = [each for each in others if performance not in each.too_small_for]
        return open_slots(fitting, self._clock.monotonic()) > 0

    def all_are_too_small(self, performance: Performance) -> bool:
        """Return True if there are nodes, and none can ever hold the files of a performance."""
        members = self.members.values()
        return bool(members) and all(performance in member.too_small_for for member in members)

    def has_or_awaits_slot(self, performance: Performance) -> bool:
        """Return True for a job that has a slot, or waits for one."""
        return performance in self.waiting or any(performance in each.downloading for each in self.members.values())

    async def place(self, job: Job) -> Member:
        """Return the node that a job goes to, with a slot on it; waits for one. Raises Fault(TOO_LARGE) if none fits.

        That is also found out here: the one node on which it would fit may have gone.
        """
        performance, job.progress.note = job.performance, "waits for a node"
        try:
            while True:
                changed, now = self.changed.next(), self._clock.monotonic()
                chosen, self.waiting[performance] = choose_member(performance, self.members.values(), now)
                if chosen is not None:
                    self.take_slot(chosen, performance)
                    return chosen
                if self.all_are_too_small(performance):
                    message = f"no node has a temp_dir that can ever hold the files of {performance}"
                    raise Fault(Cause.TOO_LARGE, message, "add a node with more disk, then: rm360 retry")
                with anyio.move_on_after(_RECHECK_SECONDS):  # an exclusion ends without a message
                    await changed.wait()
        finally:
            self.waiting.pop(performance, None)
            job.progress.note = ""

    def take_slot(self, member: Member, performance: Performance) -> None:
        """Give a job a slot, also where none is free: a job that has its lease on a node must not wait for one there.

        Another job may have the slot, and wait with it for the space of that lease. How many downloads really run at
        once is bounded on the node (`download.throttle`).
        """
        member.downloading.add(performance)
        member.has_room = False

    def free_slot(self, member: Member, performance: Performance) -> None:
        """Return a job's slot."""
        member.downloading.discard(performance)
        self.changed.notify()

    def release(self, member: Member, performance: Performance, ended: str) -> None:
        """End a job on its node, which returns its part of the spool; `ended`: see `NodeLease`."""
        member.jobs.discard(performance)
        if ended:
            member.spooled.pop(performance, None)
        if ended == PUBLISHED:
            for other in self.members.values():
                if performance in other.spooled:
                    self._forget(other, performance)
        self.free_slot(member, performance)
        if not member.lost:
            self.send(member.address, {"kind": "release", "performance": str(performance), "ended": ended})


def _names(name: str) -> Iterator[str]:
    yield name
    number = 2
    while True:
        yield f"{name}#{number}"
        number += 1
