"""Months of the service in a simulated world: the laws hold, a seed repeats, and what is taken out is found.

Every round prints its seed, and one that breaks a law the command that shows it again.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from itertools import count, cycle

import pytest
from simulation.laws import ENDS, LAWS, SOUND
from simulation.mutants import MUTANTS, Mutant
from simulation.report import round_text
from simulation.rounds import Round, play
from simulation.scenarios import SCENARIOS, small

SHORT = [name for name in SCENARIOS if name != "whole release"]
MAX_SEEDS = 100
RANDOM_SECONDS = 8.0


def first_round_that_breaks(mutant: Mutant) -> Round:
    """Return the first round in which a mutant breaks its law."""
    for seed in range(MAX_SEEDS):
        played = play(small(mutant.scenario), str(seed), mutant.parts, stop_at=mutant.law)
        if any(breach.law is mutant.law for breach in played.breaches):
            return played
    raise AssertionError(f"no seed breaks the law {mutant.law.name!r} in {mutant.scenario!r}")


def rounds_of(scenario: str, first_seed: int) -> Iterator[Round]:
    """Yield short rounds, printed with what they broke."""
    for seed in count(first_seed):
        played = play(small(scenario), str(seed))
        print(round_text(played, known=False))
        yield played


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SHORT)
def test_the_laws_hold(scenario: str) -> None:
    assert not next(rounds_of(scenario, 0)).unexpected


@pytest.mark.slow
def test_the_laws_hold_for_some_seconds_from_a_random_seed() -> None:
    """A seed that breaks a law is printed with the command that plays it again.

    Laws whose bounds are estimates decide on fixed seeds only.
    """
    seed = secrets.randbelow(10**9)
    rounds = {name: rounds_of(name, seed) for name in SHORT}
    end = time.monotonic() + RANDOM_SECONDS
    for name in cycle(SHORT):
        if time.monotonic() > end:
            return
        assert not [breach for breach in next(rounds[name]).unexpected if not breach.law.estimated]


@pytest.mark.parametrize("scenario", ["one server", "two instances"])
def test_a_seed_repeats(scenario: str) -> None:
    first, again, other = (play(small(scenario, 12), seed) for seed in ("5", "5", "6"))
    assert (first.digest, first.events, first.virtual_seconds) == (again.digest, again.events, again.virtual_seconds)
    assert first.digest != other.digest


def test_every_law_has_a_mutant() -> None:
    """ENDS and SOUND are about the simulation itself: a run that goes in circles, an exception that nothing expects."""
    assert {mutant.law for mutant in MUTANTS.values()} == set(LAWS) - {ENDS, SOUND}


@pytest.mark.slow
@pytest.mark.parametrize("without", MUTANTS)
def test_a_safeguard_that_is_taken_out_is_missed(without: str) -> None:
    mutant = MUTANTS[without]
    played = first_round_that_breaks(mutant)
    print(round_text(played))
    sound = play(small(mutant.scenario), played.seed, stop_at=mutant.law)
    assert not any(breach.law is mutant.law for breach in sound.breaches)
