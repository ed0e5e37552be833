"""What came of one round, and of many."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random


@dataclass(frozen=True)
class Case:
    """One piece of a suite: its kind, its number and the seed make the same disturbance again."""

    kind: str
    seed: int
    number: int
    suite: str = "hostile"

    @property
    def random(self) -> Random:
        """Return the case's own randomness."""
        return Random(f"{self.seed} {self.kind} {self.number}")

    @property
    def again(self) -> str:
        """Return the command that does this case again."""
        return f"scripts/suites {self.suite} --seed {self.seed} --only {self.kind} --at {self.number}"


@dataclass
class SuiteResult:
    """How a case ended, in a word or two, what was wrong about it, and the files that show it.

    `rounds` counts its disturbances: one for an input, every kill for a run that was killed again and again.
    """

    case: Case
    ended: str
    violations: list[str] = field(default_factory=list)
    evidence: list[Path] = field(default_factory=list)
    seconds: float = 0.0
    rounds: int = 1


@dataclass
class Tally:
    """The rounds of one kind."""

    rounds: int = 0
    seconds: float = 0.0
    ended: Counter[str] = field(default_factory=Counter)
    violations: int = 0

    def add(self, verdict: SuiteResult) -> None:
        """Count one case."""
        self.rounds += verdict.rounds
        self.seconds += verdict.seconds
        self.ended[verdict.ended] += verdict.rounds
        self.violations += bool(verdict.violations)


def keep(verdict: SuiteResult, folder: Path) -> Path:
    """Copy what shows a violation to where it stays; return the place."""
    place = folder / f"{verdict.case.kind}-{verdict.case.seed}-{verdict.case.number}"
    place.mkdir(parents=True, exist_ok=True)
    for path in verdict.evidence:
        if path.is_dir():
            shutil.copytree(path, place / path.name, symlinks=True, dirs_exist_ok=True)
        elif path.is_file():
            shutil.copyfile(path, place / path.name)
    return place
