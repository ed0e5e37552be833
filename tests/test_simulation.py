"""Months of the service in a simulated world: the laws hold, a seed repeats, and what is taken out is found.

Every round prints its seed, and one that breaks a law the command that shows it again.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from itertools import count, cycle

import pytest
from simulation.assembly import Parts
from simulation.laws import (
    ASKED,
    AT_REST,
    DUE_FIRST,
    EXPECTED,
    GOES_ON,
    LIVENESS,
    NOTHING_LOST,
    ONCE,
    PROMISES,
    QUOTA,
    RATE,
    STARTS,
    STATUS,
    TRIES,
    Law,
)
from simulation.mutants import MUTANTS
from simulation.report import round_text
from simulation.rounds import Round, play
from simulation.scenarios import SCENARIOS, small

SHORT = [name for name in SCENARIOS if name != "whole release"]
MAX_SEEDS = 100
MINUTE = 60.0


def first_round_that_breaks(law: Law, scenario: str, parts: Parts) -> Round:
    """Return the first round in which a law is broken."""
    for seed in range(MAX_SEEDS):
        played = play(small(scenario), str(seed), parts, stop_at=law)
        if any(breach.law is law for breach in played.breaches):
            return played
    raise AssertionError(f"no seed breaks the law {law.name!r} in {scenario!r}")


def rounds_of(scenario: str, first_seed: int) -> Iterator[Round]:
    """Yield short rounds, printed with what they broke."""
    for seed in count(first_seed):
        played = play(small(scenario), str(seed))
        print(round_text(played, known=False))
        yield played


@pytest.mark.parametrize("scenario", SHORT)
def test_the_laws_hold(scenario: str) -> None:
    assert not next(rounds_of(scenario, 0)).unexpected


@pytest.mark.slow
def test_the_laws_hold_for_a_minute_from_a_random_seed() -> None:
    """A seed that breaks a law is printed with the command that plays it again."""
    seed = secrets.randbelow(10**9)
    rounds = {name: rounds_of(name, seed) for name in SHORT}
    end = time.monotonic() + MINUTE
    for name in cycle(SHORT):
        if time.monotonic() > end:
            return
        assert not next(rounds[name]).unexpected


@pytest.mark.parametrize("scenario", ["one server", "two instances"])
def test_a_seed_repeats(scenario: str) -> None:
    first, again, other = (play(small(scenario, 12), seed) for seed in ("5", "5", "6"))
    assert (first.digest, first.events, first.virtual_seconds) == (again.digest, again.events, again.virtual_seconds)
    assert first.digest != other.digest


@pytest.mark.parametrize(
    ("without", "law", "scenario"),
    [
        pytest.param("throttle", RATE, "one server", marks=pytest.mark.slow),
        ("short pauses", LIVENESS, "one server"),
        ("lease", PROMISES, "small disk"),
        ("charge", TRIES, "one server"),
        ("record of waits", STATUS, "one server"),
        ("claim", ONCE, "two instances"),
        ("lasting answers", GOES_ON, "one server"),
        ("waits by account", ASKED, "busy person"),
        ("due first", DUE_FIRST, "one server"),
        ("waits", NOTHING_LOST, "one server"),
        ("wake", STARTS, "two instances"),
        ("quota notes", QUOTA, "four accounts"),
        ("cleanup", AT_REST, "small disk"),
        ("rate", EXPECTED, "thin lines"),
    ],
)
def test_a_safeguard_that_is_taken_out_is_missed(without: str, law: Law, scenario: str) -> None:
    played = first_round_that_breaks(law, scenario, MUTANTS[without])
    print(round_text(played))
    assert not any(breach.law is law for breach in play(small(scenario), played.seed, stop_at=law).breaches)
