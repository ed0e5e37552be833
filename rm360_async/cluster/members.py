"""The nodes as the coordinator knows them, and which of them gets a job: values and rules, no I/O.

A job goes to the node that has bytes of it in its spool, and waits for that one if it is busy; any other goes to the
node with the most free slots, then with the most free disk. A slot is a download: extractions queue on their node. A
node whose line is full gets two downloads, however many slots it has: what would queue there is free for a node that is
late.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from rm360_async.domain.names import Performance
from rm360_async.domain.node_state import NodeState

_MIN_DOWNLOADS = 2
"""Downloads that a node is given in any case: while one ends, the next one begins."""


@dataclass
class Member:
    """One node; bytes and bytes/s, times in seconds of the monotonic clock."""

    address: str
    name: str
    slots: int
    spooled: dict[Performance, int] = field(default_factory=dict)
    """Bytes of performances that lie in its spool."""
    free_bytes: int = 0
    rate: float = 0.0
    connections: int = 0
    held_back_by: str = ""
    """What bounds its downloads."""
    heard_at: float = 0.0
    has_room: bool = True
    """Its line can soon use another file, as it reported last; False from when it gets one until it reports again."""
    leaves: bool = False
    """True once it takes no further job."""
    excluded_until: float = 0.0
    """Nothing is placed on it until then, because all that it did lately failed there."""
    exclusions: int = 0
    jobs: set[Performance] = field(default_factory=set)
    """Jobs that have a lease on it."""
    downloading: set[Performance] = field(default_factory=set)
    """Jobs that hold a slot."""
    failed: dict[str, set[Performance]] = field(default_factory=dict)
    """By step, the performances for which it failed on this node since it succeeded for one."""
    too_small_for: set[Performance] = field(default_factory=set)
    """Performances whose files its spool can never hold."""
    unseen: set[Performance] = field(default_factory=set)
    """Performances whose files it did not see, although the run did: they go to another node, if there is one."""
    lost: bool = False

    def is_open(self, now: float) -> bool:
        """Return True if jobs may be placed on it."""
        return not self.lost and not self.leaves and self.excluded_until <= now

    def snapshot(self, now: float) -> NodeState:
        """Return it as `status` shows it."""
        state = "leaving" if self.leaves else "excluded" if self.excluded_until > now else "working"
        downloads, silent = len(self.downloading), now - self.heard_at
        return NodeState(
            self.name, len(self.jobs), downloads, self.slots, self.rate, self.free_bytes, state, round(silent, 1)
        )

    @property
    def free_slots(self) -> int:
        """Return how many more downloads it may be given: few, unless its line is not full, so that others get some."""
        most = self.slots if self.has_room else min(self.slots, _MIN_DOWNLOADS)
        return max(0, most - len(self.downloading))


def choose_member(performance: Performance, members: Iterable[Member], now: float) -> tuple[Member | None, bool]:
    """Return the node for a job, None if it has to wait; True with it if not for any node."""
    usable = [member for member in members if member.is_open(now) and performance not in member.too_small_for]
    others = [member for member in usable if performance not in member.unseen] or usable
    holders = [member for member in others if member.spooled.get(performance)]
    if holders:
        best = max(holders, key=lambda member: member.spooled[performance])
        return (best, False) if best.free_slots else (None, True)
    free = [member for member in others if member.free_slots]
    if not free:
        return None, len(others) < len(usable)
    return max(free, key=lambda member: (member.free_slots, member.free_bytes)), False


def open_slots(members: Iterable[Member], now: float) -> int:
    """Return how many jobs could begin now on some node."""
    return sum(member.free_slots for member in members if member.is_open(now))
