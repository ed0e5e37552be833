"""What `scripts/simulate` prints of rounds: seeds, figures, and the laws that were broken with what came before."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Iterable, Sequence

from simulation import agreement
from simulation.catalogue import GB
from simulation.laws import Breach
from simulation.mutants import MUTANTS
from simulation.rounds import MONTH, REAL, Round, play
from simulation.scenarios import SCENARIOS, STANDARD, small


def round_text(played: Round, *, known: bool = True) -> str:
    """Return a line about a round, and a block for each law that was broken."""
    months, broken = played.virtual_seconds / MONTH, ", ".join(f"{name} {n}" for name, n in played.counts.items())
    figures = f"{months:.2f} months in {played.cpu_seconds:.1f} s, {played.events} events, {played.digest}"
    lines = [f"seed {played.seed}: {figures}" + (f"; broken: {broken}" if broken else "")]
    for breach in _first_of_each(played):
        if breach.law.known:
            lines += [f"  known to fail: {breach.law.name}: {breach.message}"] if known else []
        else:
            lines += [f"  BROKEN: {breach}, after"] + [f"    {event}" for event in breach.before]
    if played.unexpected:
        is_short = played.scenario is not SCENARIOS.get(played.scenario.name)
        form = f" --performances {played.scenario.performances}" if is_short else ""
        lines.append(f'  again: scripts/simulate --scenario "{played.scenario.name}"{form} --seed {played.seed}')
    return "\n".join(lines)


def _first_of_each(played: Round) -> Iterable[Breach]:
    return {breach.law.name: breach for breach in reversed(played.breaches)}.values()


def main(arguments: Sequence[str] | None = None) -> int:
    """Play rounds and print them; return 1 if a law was broken that is not known to fail."""
    parser = argparse.ArgumentParser(prog="scripts/simulate", description=__doc__)
    parser.add_argument("--seed", help="the first seed; each further round adds one (default: random)")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--scenario", choices=list(SCENARIOS), default=STANDARD.name)
    parser.add_argument("--performances", type=int, help="a short form of the scenario with so many")
    parser.add_argument("--without", choices=list(MUTANTS), help="a safeguard that is taken out, to see a law broken")
    parser.add_argument(
        "--beside-a-run", type=float, metavar="GB", help="play a real run of so many GB and the same simulated instead"
    )
    chosen = parser.parse_args(arguments)
    if chosen.beside_a_run:
        return agreement.main(int(chosen.beside_a_run * GB))
    first = int(chosen.seed) if chosen.seed else secrets.randbelow(10**9)
    scenario = small(chosen.scenario, chosen.performances) if chosen.performances else SCENARIOS[chosen.scenario]
    print(f"{scenario.name}: {scenario.sentence}")
    rounds = []
    parts = MUTANTS[chosen.without].parts if chosen.without else REAL
    for seed in range(first, first + chosen.rounds):
        rounds.append(play(scenario, str(seed), parts))
        print(round_text(rounds[-1]), flush=True)
    months, seconds = sum(each.virtual_seconds for each in rounds) / MONTH, sum(each.cpu_seconds for each in rounds)
    failed = [each.seed for each in rounds if each.unexpected]
    print(
        f"{len(rounds)} rounds, {months:.1f} virtual months in {seconds:.0f} s; broken: {', '.join(failed) or 'none'}"
    )
    return 1 if failed else 0
