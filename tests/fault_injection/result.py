"""The result of one case, and the counts of many."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random


@dataclass(frozen=True)
class Case:
    """One case of a suite: its kind, its number and the seed cause the same disturbances again."""

    kind: str
    seed: int
    number: int
    suite: str = "hostile"

    @property
    def random(self) -> Random:
        """Return a random generator of the case's own, at its start."""
        return Random(f"{self.seed} {self.kind} {self.number}")

    @property
    def again(self) -> str:
        """Return the command that runs this case again."""
        return f"scripts/suites {self.suite} --seed {self.seed} --only {self.kind} --at {self.number}"


@dataclass
class SuiteResult:
    """How a case ended, its violations, and the files that show them.

    `rounds` counts its disturbances: one for an input, every kill for a run that was killed again and again.
    """

    case: Case
    ended: str
    violations: list[str] = field(default_factory=list)
    evidence: list[Path] = field(default_factory=list)
    seconds: float = 0.0
    rounds: int = 1


@dataclass
class KindTally:
    """The rounds of one kind."""

    rounds: int = 0
    seconds: float = 0.0
    ended: Counter[str] = field(default_factory=Counter)
    violations: int = 0

    def add(self, result: SuiteResult) -> None:
        """Count one case."""
        self.rounds += result.rounds
        self.seconds += result.seconds
        self.ended[result.ended] += result.rounds
        self.violations += bool(result.violations)


def keep_evidence(result: SuiteResult, folder: Path) -> Path:
    """Copy the evidence of a violation into `folder`; return the folder of the case."""
    target = folder / f"{result.case.kind}-{result.case.seed}-{result.case.number}"
    target.mkdir(parents=True, exist_ok=True)
    for path in result.evidence:
        if path.is_dir():
            shutil.copytree(path, target / path.name, symlinks=True, dirs_exist_ok=True)
        elif path.is_file():
            shutil.copyfile(path, target / path.name)
    return target
