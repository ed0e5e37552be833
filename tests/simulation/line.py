"""The line to the internet: its width is shared by the transfers, none of which gets more than its cap.

A fluid model: between two events (a transfer begins or ends, the width changes) every rate is constant. The width
follows a profile over the hours of the day, with noise, and is zero while the network is gone.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from rm360_async.domain.errors import Fault

HOUR, DAY = 3600.0, 86_400.0
_STEP = HOUR / 2
"""Seconds for which the width stays the same."""
_FIRST_REPORT = 1.0
"""Seconds after which a transfer first tells how far it is: the service looks at a part every second."""


@dataclass(frozen=True)
class LineProfile:
    """Bytes a second: at its best, for one connection at most, by day as a share of the night; `noise` as a share."""

    width: float
    cap: float
    day_share: float = 1.0
    noise: float = 0.0


@dataclass(eq=False)
class Transfer:
    """Bytes of one file on their way into `part`, from `size` on up to `stop`."""

    part: Path
    size: float
    stop: int
    on_bytes: Callable[[int], None]
    rate: float = 0.0
    ended: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Line:
    """The transfers of all processes of one site."""

    def __init__(self, profile: LineProfile, seed: str, on_growth: Callable[[], None]) -> None:
        self.profile, self._seed, self._on_growth = profile, seed, on_growth
        self.up = True
        self.transfers: list[Transfer] = []
        self.carried = 0.0
        """Bytes that all transfers have brought."""
        self._loop = asyncio.get_running_loop()
        self._at = self._loop.time()
        self._noises: dict[int, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def carry(self, transfer: Transfer) -> None:
        """Return once the transfer has come to its stop; raises the Fault that breaks it."""
        self.update()
        self.transfers.append(transfer)
        self._share_out()
        self._loop.call_later(_FIRST_REPORT, self.update)
        try:
            await transfer.ended
        finally:
            self.update()
            if transfer in self.transfers:
                self.transfers.remove(transfer)
            self._share_out()

    def set_up(self, up: bool) -> None:
        """Bring the network back, or take it away; what is on its way then stays where it is."""
        self.update()
        self.up = up
        self._share_out()

    def break_all(self, fault_of: Callable[[Transfer], Fault | None]) -> None:
        """End every transfer for which there is a fault."""
        self.update()
        for transfer in self.transfers:
            fault = fault_of(transfer)
            if fault is not None and not transfer.ended.done():
                transfer.ended.set_exception(fault)

    def update(self) -> None:
        """Bring the sizes up to this moment, on disk too."""
        now = self._loop.time()
        seconds, self._at = now - self._at, now
        for transfer in self.transfers:
            if seconds > 0 and transfer.rate > 0 and not transfer.ended.done():
                before = int(transfer.size)
                transfer.size = min(float(transfer.stop), transfer.size + transfer.rate * seconds)
                if transfer.stop - transfer.size < 1:
                    transfer.size = float(transfer.stop)
                self.carried += int(transfer.size) - before
                os.truncate(transfer.part, int(transfer.size))
                transfer.on_bytes(int(transfer.size))
                if transfer.size >= transfer.stop:
                    transfer.ended.set_result(None)
        if self.transfers and seconds > 0:
            self._on_growth()

    def width_at(self, moment: float) -> float:
        """Return the bytes a second that the line carries at a moment (seconds of the loop) if the network is there."""
        step = int(moment / _STEP)
        if step not in self._noises:
            self._noises[step] = Random(f"{self._seed} {step}").uniform(-1, 1) * self.profile.noise
        by_day = 7 <= (step * _STEP % DAY) / HOUR < 23
        return self.profile.width * (self.profile.day_share if by_day else 1.0) * (1 + self._noises[step])

    def mean_width(self, start: float, end: float) -> float:
        """Return the mean of `width_at` between two moments."""
        steps = range(int(start / _STEP), int(end / _STEP) + 1)
        return sum(self.width_at(step * _STEP) for step in steps) / len(steps)

    def _share_out(self) -> None:
        """Give every transfer its share, and wake up at the next end or change of the width."""
        going = [transfer for transfer in self.transfers if not transfer.ended.done()]
        rate = min(self.profile.cap, self.width_at(self._loop.time()) / len(going)) if going and self.up else 0.0
        for transfer in going:
            transfer.rate = rate
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if going and rate > 0:
            first = min((transfer.stop - transfer.size) / rate for transfer in going)
            step_left = _STEP - self._loop.time() % _STEP
            self._timer = self._loop.call_later(min(first, step_left) + 1e-4, self._wake)

    def _wake(self) -> None:
        self.update()
        self._share_out()
