"""How many connections a remote gets: as many as bring more bytes, no more than it allows. Pure, without a clock.

Theory of operation. What one connection brings may be capped by the remote, by the distance, or by nothing but the
line, and only trying tells which. So the number is doubled while the rate grows with it (by the rates
alone: a fixed step would crawl over a fat line of thin connections); the step that brought nothing is taken back, and
what the last step brought too many is given back in smaller steps. Then the number is held, and tried again now and
then, at once if the rate changes by itself: lines have other users. Rates are noisy, so growth must be clear
(`_MIN_GAIN`) before connections are added, and loss small (`_MAX_LOSS`) before they are given back.

A refusal halves the number and sets a ceiling below which it stays for a while, each time longer: a remote that
refuses the seventh connection refuses it again.

Only ticks in which all connections were busy count: a rate with nothing more to download says nothing about the line.
"""

from __future__ import annotations

import math
from enum import Enum

FIRST_CONNECTIONS, MAX_CONNECTIONS = 8, 64
_SETTLE_SECONDS = 0.4
"""New connections bring their first byte after one or two round trips."""
_QUICK_SECONDS, _WINDOW_SECONDS, _HOLD_WINDOW_SECONDS = 0.4, 1.5, 3.0
_CLEAR_GAIN, _MIN_GAIN, _NOISE, _MAX_LOSS = 0.5, 0.12, 0.06, 0.04
"""Of the rate, for twice as many connections: a clear gain goes on, one below the least (or the noise) is taken back;
and the loss with which fewer connections still do."""
_CHANGED = 0.3
"""A rate that differs from the one held by this share is that of another line: at once if it is higher, since a try
costs little, and in two windows if it is lower."""
_FIRST_PROBE_SECONDS, _MAX_PROBE_SECONDS = 10.0, 120.0
_FIRST_CEILING_SECONDS, _MAX_CEILING_SECONDS = 60.0, 900.0
_EPISODE_SECONDS = 3.0
"""Refusals within it come from requests that were made before the number was halved."""


class _Phase(Enum):
    GROW = "grow"
    TRIM = "trim"
    HOLD = "hold"


class ConnectionController:
    """Decides the number of `connections`; `tick` takes what has happened since the last one."""

    def __init__(self, first: int = FIRST_CONNECTIONS, most: int = MAX_CONNECTIONS) -> None:
        self._most = most
        self.connections = max(1, min(first, most))
        self._phase = _Phase.GROW
        self._base: tuple[int, float] | None = None
        """The best number so far and its rate in bytes/s; None until it was measured."""
        self._seconds = self._bytes = 0.0
        self._skip_seconds = _SETTLE_SECONDS
        self._until_probe, self._probe_seconds = 0.0, _FIRST_PROBE_SECONDS
        self._changed_windows, self._is_remembered = 0, False
        self._ceiling, self._ceiling_left, self._ceiling_seconds = most, 0.0, _FIRST_CEILING_SECONDS
        self._episode_left = 0.0

    def start_at(self, number: int) -> None:
        """Begin with the number that was enough the last time, and hold it."""
        self._is_remembered = True
        self._set(number)

    @property
    def knee(self) -> int | None:
        """Return the number that is known to be enough; None while it is still being looked for."""
        return self._base[0] if self._phase is _Phase.HOLD and self._base else None

    @property
    def is_refused(self) -> bool:
        """Return True while the remote's limit, and not the line, bounds the number."""
        return self._ceiling_left > 0 and self.connections >= self._ceiling

    def tick(self, seconds: float, size: int, *, saturated: bool) -> int:
        """Take the bytes that arrived in the last seconds, and whether all connections were busy; return the number."""
        self._episode_left -= seconds
        if self._ceiling_left > 0:
            self._ceiling_left -= seconds
            if self._ceiling_left <= 0:
                self._ceiling = self._most
        if not saturated:
            self._start_window(0.0)
        elif self._skip_seconds > 0:
            self._skip_seconds -= seconds
        else:
            self._seconds += seconds
            self._bytes += size
            self._until_probe -= seconds
            self._decide(self._bytes / self._seconds)
        return self.connections

    def refuse(self, accepted: int) -> bool:
        """Halve the number after a refusal; False if it is one of the same episode.

        `accepted`: the most bodies that arrived at once. By the time that the reason is known there may be few, and a
        number that was held may have been refused in part; so neither says what the remote allows.
        """
        if self._episode_left > 0:
            return False
        self._ceiling = max(1, min(max(accepted, self.connections // 2), self.connections - 1))
        self._ceiling_left = self._ceiling_seconds
        self._ceiling_seconds = min(2 * self._ceiling_seconds, _MAX_CEILING_SECONDS)
        self._episode_left = _EPISODE_SECONDS
        self._base, self._phase, self._is_remembered = None, _Phase.GROW, False
        self._set(self.connections // 2)
        return True

    def _decide(self, rate: float) -> None:
        if self._phase is _Phase.HOLD:
            self._hold(rate)
        elif self._base is None:
            if self._seconds >= _QUICK_SECONDS:
                self._base = (self.connections, rate)
                if self._is_remembered:
                    self._start_hold()
                else:
                    self._grow()
        elif self._phase is _Phase.TRIM:
            self._trim(rate)
        elif self._seconds >= _QUICK_SECONDS and rate >= self._base[1] * (1 + _CLEAR_GAIN * self._step):
            self._base = (self.connections, rate)
            self._grow()
        elif self._seconds >= _WINDOW_SECONDS:
            self._end_growth(rate)

    @property
    def _step(self) -> float:
        """Return the share by which there are more connections than at the base."""
        return self.connections / self._base[0] - 1 if self._base else 0.0

    def _grow(self) -> None:
        if self.connections >= self._limit:
            self._start_hold()
        else:
            self._phase = _Phase.GROW
            self._set(2 * self.connections)

    def _end_growth(self, rate: float) -> None:
        """Decide what to do with a step that did not bring a clear gain."""
        assert self._base is not None
        if rate < self._base[1] * (1 + max(_NOISE, _MIN_GAIN * self._step)):
            self._set(self._base[0])
            self._start_hold()
            if rate < self._base[1] * (1 - _CHANGED):  # the line itself has changed: that says nothing about the step
                self._until_probe = 0.0
        else:
            self._base = (self.connections, max(rate, self._base[1]))
            self._step_down()

    def _trim(self, rate: float) -> None:
        """Give back what the last step brought too many, until the rate falls."""
        assert self._base is not None
        if self._seconds < _WINDOW_SECONDS:
            return
        if rate >= self._base[1] * (1 - _MAX_LOSS):
            self._base = (self.connections, max(rate, self._base[1]))
            self._step_down()
        else:
            self._set(self._base[0])
            self._start_hold()

    def _step_down(self) -> None:
        fewer = math.ceil(self.connections * 0.8)
        if fewer >= self.connections:
            self._start_hold()
        else:
            self._phase = _Phase.TRIM
            self._set(fewer)

    def _hold(self, rate: float) -> None:
        assert self._base is not None
        number, held = self._base
        is_wider = self._seconds >= _WINDOW_SECONDS and rate > (1 + _CHANGED) * held
        if self._seconds < _HOLD_WINDOW_SECONDS and not is_wider:
            return
        is_other = abs(rate - held) > _CHANGED * held
        self._changed_windows = self._changed_windows + 1 if is_other else 0
        if is_wider or self._changed_windows >= 2:
            self._base, self._changed_windows, self._probe_seconds = (number, rate), 0, _FIRST_PROBE_SECONDS
            self._until_probe = 0.0
        elif not is_other:
            self._base = (number, held + 0.3 * (rate - held))
        if self._until_probe <= 0 and number < self._limit:
            self._probe()
        else:
            self._start_window(0.0)

    def _probe(self) -> None:
        """Try a few connections more; `_end_growth` takes them back if they bring nothing."""
        self._probe_seconds = min(2 * self._probe_seconds, _MAX_PROBE_SECONDS)
        is_limited = self._ceiling_seconds > _FIRST_CEILING_SECONDS
        self._phase = _Phase.GROW
        self._set(self.connections + (1 if is_limited else max(1, self.connections // 2)))

    def _start_hold(self) -> None:
        if self._phase is not _Phase.HOLD:
            self._phase, self._until_probe = _Phase.HOLD, self._probe_seconds
        self._start_window(_SETTLE_SECONDS)

    @property
    def _limit(self) -> int:
        return min(self._most, self._ceiling)

    def _set(self, number: int) -> None:
        self.connections = max(1, min(number, self._limit))
        self._start_window(_SETTLE_SECONDS)

    def _start_window(self, skip_seconds: float) -> None:
        self._seconds = self._bytes = 0.0
        self._skip_seconds = max(skip_seconds, self._skip_seconds if skip_seconds == 0.0 else 0.0)
