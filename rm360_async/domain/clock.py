"""The time and the random jitter of a run, in one value, for which the simulation substitutes its own."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """Where a run takes the time and the jitter of its pauses from."""

    now: Callable[[], float] = time.time
    """The wall clock (unix seconds): for what is stored and for what people read; it may be set back."""
    monotonic: Callable[[], float] = time.monotonic
    """Seconds that only grow: for durations."""
    chance: Callable[[], float] = random.random
    """A number in [0, 1)."""


SYSTEM_CLOCK = Clock()
