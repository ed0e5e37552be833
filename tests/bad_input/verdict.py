"""What came of one round, and of many."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random


@dataclass(frozen=True)
class Case:
    """One round: its kind, its number and the seed make the same input again."""

    kind: str
    seed: int
    number: int

    @property
    def random(self) -> Random:
        """Return the round's own randomness."""
        return Random(f"{self.seed} {self.kind} {self.number}")

    @property
    def again(self) -> str:
        """Return the command that does this round again."""
        return f"scripts/hostile --seed {self.seed} --only {self.kind} --at {self.number}"


@dataclass
class Verdict:
    """How a round ended, in a word or two, what was wrong about it, and the input's files."""

    case: Case
    ended: str
    violations: list[str] = field(default_factory=list)
    evidence: list[Path] = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class Tally:
    """The rounds of one kind."""

    rounds: int = 0
    seconds: float = 0.0
    ended: Counter[str] = field(default_factory=Counter)
    violations: int = 0

    def add(self, verdict: Verdict) -> None:
        """Count one round."""
        self.rounds += 1
        self.seconds += verdict.seconds
        self.ended[verdict.ended] += 1
        self.violations += bool(verdict.violations)


def told_well(text: str, what: str) -> list[str]:
    """Return what is wrong with a sentence that a person is to read: more than a line, unprintable, a traceback."""
    wrong = []
    if not text.strip() or not text.isprintable():
        wrong.append(f"{what} is not one printable line: {text[:300]!r}")
    if "Traceback" in text or "Error(" in text or "object at 0x" in text:
        wrong.append(f"{what} speaks of the program's inside: {text[:300]!r}")
    if len(text) > 4000:
        wrong.append(f"{what} is {len(text)} characters long")
    return wrong
