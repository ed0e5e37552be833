"""The clock and the dice of a run, in one value: the simulation runs the same code with others."""

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
