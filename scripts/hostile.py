"""Mutated and hostile .smc files, configs, listings and ledgers against the real parts.

Every .smc goes through the real worker process, under its memory limit and deadline, and every success is
compared with plain h5py. A round must end in time, without a traceback, a file outside of its staging folder,
or a success that the file contradicts. The seed makes the same rounds again.

\b
Examples:
  scripts/hostile                                   5,000 files, and their share of the other inputs
  scripts/hostile --rounds 300 --only bombs         one kind only
  scripts/hostile --seed 7 --only virtual --at 12   one round again
"""

from __future__ import annotations

import resource
import secrets
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import anyio
import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from bad_input.suite import KINDS, Plan, carry_out, keep
from bad_input.verdict import Tally, Verdict


class Told:
    """Counts the rounds, and tells each violation at once, with the way to see it again."""

    def __init__(self, kept: Path, rounds: int) -> None:
        self.kept, self.rounds, self.done, self.start = kept, rounds, 0, time.monotonic()
        self.tallies: dict[str, Tally] = defaultdict(Tally)

    def __call__(self, verdict: Verdict) -> None:
        """Take one round."""
        self.tallies[verdict.case.kind].add(verdict)
        self.done += 1
        for violation in verdict.violations:
            click.echo(f"VIOLATION {verdict.case.kind} {verdict.case.number} ({verdict.ended}): {violation}")
        if verdict.violations:
            click.echo(f"  again: {verdict.case.again}")
            click.echo(f"  kept:  {keep(verdict, self.kept)}")
        if self.done % 250 == 0:
            click.echo(f"{self.done} of {self.rounds}, {time.monotonic() - self.start:.0f} s", err=True)

    def table(self) -> str:
        """Return a line for each kind, and one for all."""
        lines = [f"{'kind':<22}{'rounds':>7}{'violations':>12}{'s/round':>9}  ended"]
        for kind, tally in self.tallies.items():
            ended = ", ".join(f"{word} {count}" for word, count in tally.ended.most_common())
            mean = tally.seconds / tally.rounds
            lines.append(f"{kind:<22}{tally.rounds:>7}{tally.violations:>12}{mean:>9.2f}  {ended}")
        return "\n".join([*lines, f"{'all':<22}{self.done:>7}{self.violations:>12}"])

    @property
    def violations(self) -> int:
        """Return how many rounds had any."""
        return sum(tally.violations for tally in self.tallies.values())


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--rounds", default=5000, show_default=True, help="Rounds with .smc files, or of the kind of --only.")
@click.option("--seed", type=int, help="The seed that an earlier run printed (default: a new one).")
@click.option("--only", type=click.Choice(KINDS), metavar="KIND", help=f"One kind: {', '.join(KINDS)}.")
@click.option("--at", type=int, help="Only this round of the kind.")
@click.option("--processes", default=2, show_default=True, help="Workers at once.")
@click.option("--many", default=200_000, show_default=True, help='How many names are "many".')
@click.option("--kept", default="hostile-violations", type=click.Path(path_type=Path), help="Where files are kept.")
def main(
    rounds: int, seed: int | None, only: str | None, at: int | None, processes: int, many: int, kept: Path
) -> None:
    """Do the rounds; exit 1 when any was a violation."""
    if at is not None and only is None:
        raise click.UsageError("--at needs --only KIND, as in the line that told of the round")
    plan = Plan(rounds, secrets.randbelow(10**6) if seed is None else seed, only, at)
    cases = list(plan.cases())
    click.echo(f"seed {plan.seed}, {len(cases)} rounds")
    told, folder = Told(kept, len(cases)), Path(tempfile.mkdtemp(prefix="rm360-hostile-"))
    try:
        untold = anyio.run(carry_out, cases, folder, told, many, processes)
    finally:
        click.echo(told.table())
        shutil.rmtree(folder, ignore_errors=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    click.echo(f"seed {plan.seed}; {time.monotonic() - told.start:.0f} s; largest child {peak} MB resident")
    click.echo(f"{untold} successes were of files that plain h5py could not read to the end, so not compared")
    sys.exit(1 if told.violations else 0)


if __name__ == "__main__":
    main()
