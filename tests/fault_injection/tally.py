"""Count the rounds of a suite, report each violation at once, and make the table at the end."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import click

from fault_injection.result import KindTally, SuiteResult, keep_evidence

_PROGRESS_ROUNDS = 100


class SuiteTally:
    """The rounds of one suite; `faults` says how the fault of each kind is caused."""

    def __init__(self, suite: str, faults: Mapping[str, str], kept: Path) -> None:
        self.suite, self.faults, self.kept = suite, faults, kept
        self.start, self.rounds = time.monotonic(), 0
        self.kinds: dict[str, KindTally] = defaultdict(KindTally)
        self._reported = 0

    def __call__(self, result: SuiteResult) -> None:
        """Count one case, and report its violations."""
        self.kinds[result.case.kind].add(result)
        self.rounds += result.rounds
        for violation in result.violations:
            click.echo(f"VIOLATION {result.case.kind} {result.case.number} ({result.ended}): {violation}")
        if result.violations:
            click.echo(f"  again: {result.case.again}")
            click.echo(f"  kept:  {keep_evidence(result, self.kept)}")
        if self.rounds // _PROGRESS_ROUNDS > self._reported:
            self._reported = self.rounds // _PROGRESS_ROUNDS
            click.echo(f"{self.suite}: {self.rounds} rounds, {time.monotonic() - self.start:.0f} s", err=True)

    @property
    def violations(self) -> int:
        """Return how many cases had violations."""
        return sum(kind.violations for kind in self.kinds.values())

    def rows(self) -> list[tuple[str, str, int, int, float]]:
        """Return suite and kind, the fault, rounds, violations and seconds per round, for each kind."""
        return [
            (f"{self.suite} {kind}", self.faults.get(kind, ""), t.rounds, t.violations, t.seconds / max(1, t.rounds))
            for kind, t in sorted(self.kinds.items())
        ]


def table(tallies: list[SuiteTally], *, markdown: bool) -> str:
    """Return the table of all kinds, for a terminal or as Markdown."""
    rows = [row for tally in tallies for row in tally.rows()]
    rows.append(("all", "", sum(row[2] for row in rows), sum(row[3] for row in rows), 0.0))
    if markdown:
        lines = ["| kind | fault and how it is caused | rounds | violations | s per round |", "|---|---|---|---|---|"]
        return "\n".join(lines + [f"| {k} | {f} | {r} | {v} | {s:.2f} |" for k, f, r, v, s in rows])
    width = max(len(row[0]) for row in rows) + 2
    head = f"{'kind':<{width}}{'rounds':>7}{'violations':>12}{'s/round':>9}  fault"
    return "\n".join([head] + [f"{k:<{width}}{r:>7}{v:>12}{s:>9.2f}  {f}" for k, f, r, v, s in rows])
