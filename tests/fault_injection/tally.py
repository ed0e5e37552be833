"""Counts the rounds of a suite, tells each violation at once, and makes the table at the end."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import click

from fault_injection.result import SuiteResult, Tally, keep


class SuiteTally:
    """The rounds of one suite; `faults` says of a kind how it is caused."""

    def __init__(self, suite: str, faults: Mapping[str, str], kept: Path) -> None:
        self.suite, self.faults, self.kept = suite, faults, kept
        self.start, self.rounds = time.monotonic(), 0
        self.tallies: dict[str, Tally] = defaultdict(Tally)
        self._told = 0

    def __call__(self, verdict: SuiteResult) -> None:
        """Take one case."""
        self.tallies[verdict.case.kind].add(verdict)
        self.rounds += verdict.rounds
        for violation in verdict.violations:
            click.echo(f"VIOLATION {verdict.case.kind} {verdict.case.number} ({verdict.ended}): {violation}")
        if verdict.violations:
            click.echo(f"  again: {verdict.case.again}")
            click.echo(f"  kept:  {keep(verdict, self.kept)}")
        if self.rounds // 100 > self._told:
            self._told = self.rounds // 100
            click.echo(f"{self.suite}: {self.rounds} rounds, {time.monotonic() - self.start:.0f} s", err=True)

    @property
    def violations(self) -> int:
        """Return how many cases had any."""
        return sum(tally.violations for tally in self.tallies.values())

    def rows(self) -> list[tuple[str, str, int, int, float]]:
        """Return suite and kind, the fault, rounds, violations and seconds a round, for each kind."""
        return [
            (f"{self.suite} {kind}", self.faults.get(kind, ""), t.rounds, t.violations, t.seconds / max(1, t.rounds))
            for kind, t in sorted(self.tallies.items())
        ]


def table(accounts: list[SuiteTally], *, markdown: bool) -> str:
    """Return the lines of all kinds, for a terminal or for a README."""
    rows = [row for account in accounts for row in account.rows()]
    rows.append(("all", "", sum(row[2] for row in rows), sum(row[3] for row in rows), 0.0))
    if markdown:
        lines = ["| kind | fault and how it is caused | rounds | violations | s a round |", "|---|---|---|---|---|"]
        return "\n".join(lines + [f"| {k} | {f} | {r} | {v} | {s:.2f} |" for k, f, r, v, s in rows])
    width = max(len(row[0]) for row in rows) + 2
    head = f"{'kind':<{width}}{'rounds':>7}{'violations':>12}{'s/round':>9}  fault"
    return "\n".join([head] + [f"{k:<{width}}{r:>7}{v:>12}{s:>9.2f}  {f}" for k, f, r, v, s in rows])
