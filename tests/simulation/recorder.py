"""The list of what was broken, which all checks add to."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rm360_async.domain.names import Performance
from simulation.laws import ENDS, Breach, Law

if TYPE_CHECKING:
    from simulation.world import World

_MAX_BREACHES = 20
_SEEN_SECONDS = 600.0


class Recorder:
    """The breaches of one world; the round ends when the law `stop_at` is broken."""

    world: World

    def __init__(self) -> None:
        self.stop_at: Law | None = None
        self.breaches: list[Breach] = []
        self.counts: Counter[str] = Counter()
        self._retried_at: dict[Performance, float] = {}
        """When a person retried a performance while the service ran."""

    def breach(self, law: Law, message: str) -> None:
        """Note that a law was broken; of each law the first ones are kept."""
        self.counts[law.name] += 1
        if self.counts[law.name] <= _MAX_BREACHES:
            before = tuple(map(str, list(self.world.events)[-15:]))
            self.breaches.append(Breach(law, self.world.elapsed(), message, before))
        if law in (self.stop_at, ENDS):
            self.world.stop()

    def retried_meanwhile(self, performances: Sequence[Performance]) -> None:
        """Remember that a person retried performances while the service ran."""
        self._retried_at.update(dict.fromkeys(performances, self.world.elapsed()))

    def is_just_retried(self, performance: Performance) -> bool:
        """Return True if a run has perhaps not yet seen that a performance is to be tried again."""
        return self.world.elapsed() < self._retried_at.get(performance, -math.inf) + _SEEN_SECONDS

    def has_just_retried(self) -> bool:
        """Return True if a run that has ended now may have missed what was retried."""
        return any(map(self.is_just_retried, self._retried_at))
