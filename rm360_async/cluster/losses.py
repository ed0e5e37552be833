"""What follows for a performance, and for a node, from what goes wrong on nodes: rules without I/O.

A node that is lost, leaves or is unfit costs its performances no try. But it may be the performance that kills nodes:
from the third loss in a row on, each counts. A node on which the same step of different performances fails in a row,
or that cannot work at all, gets nothing for a while, twice as long each time until it has extracted something; what it
has then goes elsewhere, twice at no try: all nodes may be well, and the last files of a run damaged. So does, from any
node, a file that is not there for its login: the run itself has just found it. The disk that an extraction fills is
that of the output, which all nodes share.
"""

from __future__ import annotations

from collections import Counter

from rm360_async.cluster.members import Member
from rm360_async.cluster.values import DOWNLOAD, EXTRACT
from rm360_async.domain.errors import Cause, Fault, Scope
from rm360_async.domain.names import Performance

MAX_LOSSES = 2
"""Losses in a row of one performance that do not count."""
MAX_FAILURES = 3
"""Performances of which a step fails in a row on one node, before it gets no more for a while."""
_EXCLUSION_SECONDS, _MAX_EXCLUSION_SECONDS = 60.0, 3600.0
_OF_THE_NODE = (Scope.MACHINE, Scope.SERVICE)
_OF_THE_SOURCE = frozenset({Cause.FILE_QUOTA, Cause.NOT_FOUND, Cause.DUPLICATE_NAME, Cause.TOO_LARGE})
_NOT_SEEN = frozenset({Cause.NOT_FOUND, Cause.FORBIDDEN})


class Losses:
    """Counts the losses of each performance in a row."""

    def __init__(self) -> None:
        self._in_a_row: dict[Performance, list[str]] = {}
        self._moves: Counter[Performance] = Counter()

    def lost(self, performance: Performance, node: str) -> Fault:
        """Return the fault of a job whose node was lost."""
        names = self._in_a_row.setdefault(performance, [])
        names.append(node)
        if len(names) <= MAX_LOSSES:
            return Fault(Cause.NODE_LOST, f"node {node} was lost while it had {performance}")
        message = f"{len(names)} nodes in a row were lost while they had {performance}: {', '.join(names[-3:])}"
        return Fault(Cause.WORKER_DIED, message, "check their memory and their system logs")

    def survived(self, performance: Performance) -> None:
        """Note that a node has done with a performance what it was asked to."""
        self._in_a_row.pop(performance, None)

    def moves_free(self, performance: Performance) -> bool:
        """Return True if a performance leaves a node on which all fails at no try: some times, or no run would end."""
        self._moves[performance] += 1
        return self._moves[performance] <= MAX_LOSSES

    def extracted(self, performance: Performance) -> None:
        """Note that a performance was extracted."""
        self.survived(performance)
        self._moves.pop(performance, None)


def fault_of_node(fault: Fault, member: Member) -> Fault:
    """Return a fault of a step as the performance's: what is wrong with the node itself costs it no try."""
    if fault.cause.scope not in _OF_THE_NODE:
        return fault
    return Fault(Cause.NODE_UNFIT, f"node {member.name} cannot work: {fault.message}", fault.hint)


def is_not_seen(fault: Fault, step: str) -> bool:
    """Return True if a node does not see a file, which the run has found at the start of this attempt."""
    return step == DOWNLOAD and fault.cause in _NOT_SEEN


def note_failure(member: Member, performance: Performance, step: str, fault: Fault, now: float) -> bool:
    """Note that a step failed on a node; return True if the node gets nothing for a while, from now or already."""
    if not _may_be_of_the_node(fault, step):
        return False
    if member.excluded_until > now:
        return True
    failed = member.failed.setdefault(step, set())
    failed.add(performance)
    most = 1 if fault.cause is Cause.NODE_UNFIT or member.exclusions else MAX_FAILURES
    if len(failed) < most:
        return False
    member.failed.clear()
    member.excluded_until = now + min(_EXCLUSION_SECONDS * 2.0**member.exclusions, _MAX_EXCLUSION_SECONDS)
    member.exclusions += 1
    return True


def _may_be_of_the_node(fault: Fault, step: str) -> bool:
    cause = fault.cause
    if is_not_seen(fault, step):
        return True
    if cause.scope is Scope.REMOTE or cause in _OF_THE_SOURCE or cause is Cause.NODE_LEAVES:
        return False
    return not (step == EXTRACT and cause is Cause.DISK_FULL)


def note_success(member: Member, step: str) -> None:
    """Note that a step succeeded on a node."""
    member.failed.pop(step, None)
    if step == EXTRACT:  # with which it has shown that it can do them all
        member.exclusions = 0
