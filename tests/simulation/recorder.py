"""The list of what was broken, which all checks add to."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rm360_async.domain.names import Performance
from simulation.laws import ENDS, Breach, Law

if TYPE_CHECKING:
    from simulation.world import World

_MAX_BREACHES = 20


class Recorder:
    """The breaches of one world; the round ends when the law `stop_at` is broken."""

    world: World

    def __init__(self) -> None:
        self.stop_at: Law | None = None
        self.breaches: list[Breach] = []
        self.counts: Counter[str] = Counter()
        self.retried_meanwhile: set[Performance] = set()
        """What a person retried while the service ran; the next start does it."""

    def breach(self, law: Law, message: str) -> None:
        """Note that a law was broken; of each law the first ones are kept."""
        self.counts[law.name] += 1
        if self.counts[law.name] <= _MAX_BREACHES:
            before = tuple(map(str, list(self.world.events)[-15:]))
            self.breaches.append(Breach(law, self.world.elapsed(), message, before))
        if law in (self.stop_at, ENDS):
            self.world.stop()
