"""Nodes that are there and do nothing any more: they are lost, like those whose stream ends.

Dask notices a process that has ended, or that hangs as a whole. A node whose disk does not answer lives on: it reports
nothing, if the disk is its spool; if it is the output, an extraction goes on beyond its deadline, as the node cannot
end a process that waits for a disk. Its membership ends then, so it joins again once it works.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from rm360_async.cluster.nodes import Nodes
from rm360_async.config import Settings
from rm360_async.domain.clock import SYSTEM_CLOCK, Clock

_CHECK_SECONDS = 5.0
_SILENCE_MARGIN_SECONDS = 30.0
"""A node reports each second, and less often among many."""
_EXTRACTION_MARGIN_SECONDS = 600.0
"""For what a node does after the deadline of an extraction: it removes the folder, on a slow disk."""


@dataclass(frozen=True)
class Bounds:
    """After how many seconds a node is lost that sends nothing, or whose extraction does not progress."""

    silent: float
    extraction: float


def bounds_of(settings: Settings) -> Bounds:
    """Return the bounds of a run."""
    deadline = settings.processing.extraction_minutes * 60
    return Bounds(settings.cluster.lost_after_seconds + _SILENCE_MARGIN_SECONDS, deadline + _EXTRACTION_MARGIN_SECONDS)


def hung(nodes: Nodes, bounds: Bounds, now: float) -> dict[str, str]:
    """Return the addresses of the nodes that hang, and why each is held to."""
    found = {}
    for member in nodes.members.values():
        silent = now - member.heard_at
        extraction = nodes.steps.slowest_extraction(member, now)
        if silent > bounds.silent:
            found[member.address] = f"it has reported nothing for {silent:.0f} s; check its disks and its log"
        elif extraction > bounds.extraction:
            found[member.address] = (
                f"an extraction there has not progressed for {extraction / 60:.0f} minutes, and was not ended after"
                " processing.extraction_minutes; see whether output_dir answers on it"
            )
    return found


async def end_hung(
    nodes: Nodes, disconnect: Callable[[str], Awaitable[None]], bounds: Bounds, clock: Clock = SYSTEM_CLOCK
) -> None:
    """Give up each node that hangs, until cancelled; `disconnect` ends the stream of an address."""
    while True:
        before = clock.monotonic()
        await anyio.sleep(_CHECK_SECONDS)
        now = clock.monotonic()
        if now - before > 2 * _CHECK_SECONDS:  # this process was stopped, and has still to hear what they sent
            continue
        for address, reason in hung(nodes, bounds, now).items():
            nodes.removed(address, reason)
            await disconnect(address)
