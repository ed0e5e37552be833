"""The number of connections on simulated lines: capped by connection, line or remote, noisy, and changing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest

from rm360_async.download.connection_controller import FIRST_CONNECTIONS, MAX_CONNECTIONS, ConnectionController

TICK = 0.25
MB = 1e6


@dataclass
class SimulatedLine:
    """`cap` bytes a second of one connection, `width` of all (by the time), `most` bodies; `noise` as a share.

    The reason of a refusal is known `reason_seconds` after it.
    """

    cap: float
    width: Callable[[float], float]
    most: int = 10**6
    noise: float = 0.0
    reason_seconds: float = 0.0
    refusals: list[float] = field(default_factory=list)

    def rate(self, connections: int, now: float) -> float:
        return min(self.cap * min(connections, self.most), self.width(now))


def fixed(width: float) -> Callable[[float], float]:
    return lambda now: width


def run(line: SimulatedLine, seconds: float, controller: ConnectionController | None = None) -> list[int]:
    """Return the number of connections at each tick; new ones bring their first byte half a second later."""
    controller, chance, numbers = controller or ConnectionController(), Random(7), list[int]()
    grown_at, before, refused_at = 0.0, 0, None
    for tick in range(int(seconds / TICK)):
        now, number = tick * TICK, controller.connections
        if number > before:
            grown_at, ready = now, before
        active = number if now - grown_at >= 0.5 or number <= ready else ready
        before = number
        rate = line.rate(active, now) * (1 + line.noise * chance.uniform(-1, 1))
        controller.tick(TICK, int(rate * TICK), saturated=True)
        if active > line.most and refused_at is None:
            refused_at = now
        if refused_at is not None and now >= refused_at + line.reason_seconds:
            refused_at = None
            if controller.refuse(line.most):
                line.refusals.append(now)
        numbers.append(number)
    return numbers


def share(line: SimulatedLine, numbers: list[int], since: float) -> float:
    """Return what the numbers brought of what the line could have brought, after `since` seconds."""
    ticks = range(int(since / TICK), len(numbers))
    best = [line.rate(MAX_CONNECTIONS, tick * TICK) for tick in ticks]
    return sum(line.rate(numbers[tick], tick * TICK) for tick in ticks) / sum(best)


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.15])
@pytest.mark.parametrize(
    ("cap", "width", "at_most"),
    [(2 * MB, 40 * MB, 32), (4 * MB, 1000 * MB, 64), (40 * MB, 40 * MB, 12), (10 * MB, 40 * MB, 12), (MB, 6 * MB, 12)],
)
def test_the_line_is_filled_soon_with_few_connections(cap: float, width: float, at_most: int, noise: float) -> None:
    line = SimulatedLine(cap, fixed(width), noise=noise)
    numbers = run(line, 120)
    assert share(line, numbers, 8) > 0.93
    assert sorted(numbers[-200:])[100] <= at_most


def test_a_line_of_many_thin_connections_is_filled_within_seconds() -> None:
    line = SimulatedLine(2 * MB, fixed(40 * MB))
    numbers = run(line, 20)
    lost = sum(40 * MB - line.rate(number, 0) for number in numbers) * TICK / (40 * MB)
    assert lost < 4.0, "seconds of the line"


def test_a_line_that_changes_at_noon_is_followed() -> None:
    line = SimulatedLine(2 * MB, lambda now: 40 * MB if not 100 <= now < 200 else 10 * MB)
    numbers = run(line, 300)
    assert share(line, numbers, 10) > 0.93
    widening = SimulatedLine(2 * MB, lambda now: 10 * MB if now < 100 else 80 * MB)
    assert share(widening, run(widening, 260), 180) > 0.9, "a wider line is noticed by a probe"


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("phase", range(10))
def test_a_line_that_changes_every_five_seconds_is_learned_soon(phase: int, noise: float) -> None:
    """Whatever it was when a step was tried: what is measured while it changes says nothing about the step."""
    line = SimulatedLine(2 * MB, lambda now: 40 * MB if (now + phase) % 10 < 5 else 10 * MB, noise=noise)
    numbers = run(line, 90)
    assert share(line, numbers[: int(30 / TICK)], 0) > 0.75
    assert share(line, numbers, 20) > 0.93


@pytest.mark.parametrize("reason_seconds", [0.0, 1.0])
def test_a_remote_that_refuses_more_than_six_is_asked_for_more_seldom(reason_seconds: float) -> None:
    line = SimulatedLine(2 * MB, fixed(1000 * MB), most=6, reason_seconds=reason_seconds)
    numbers = run(line, 900)
    assert max(numbers[int(15 / TICK) :]) <= 7
    assert len([at for at in line.refusals if at > 15]) <= 5
    assert sum(numbers[int(15 / TICK) :]) / len(numbers[int(15 / TICK) :]) > 4.5


def test_a_number_that_was_refused_in_part_is_not_taken_for_an_allowed_one() -> None:
    controller = ConnectionController()
    run(SimulatedLine(2 * MB, fixed(18 * MB)), 20, controller)
    number = controller.connections
    assert controller.refuse(number - 2)
    assert max(run(SimulatedLine(2 * MB, fixed(1000 * MB)), 30, controller)) == number - 2


def test_a_number_of_the_user_is_an_upper_bound_and_a_remembered_one_a_start() -> None:
    assert max(run(SimulatedLine(MB, fixed(100 * MB)), 60, ConnectionController(4, 10))) == 10
    controller = ConnectionController()
    controller.start_at(24)
    numbers = run(SimulatedLine(2 * MB, fixed(40 * MB)), 60, controller)
    assert numbers[0] == 24 and max(numbers) <= 48
    assert controller.knee is not None and 18 <= controller.knee <= 24


def test_without_enough_to_download_nothing_is_concluded() -> None:
    controller = ConnectionController()
    for _ in range(400):
        controller.tick(TICK, 1000, saturated=False)
    assert controller.connections == FIRST_CONNECTIONS and controller.knee is None
