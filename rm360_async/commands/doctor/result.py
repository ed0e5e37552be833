"""What the doctor says: one line for each thing it looked at, with the mend where one is needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rm360_async.domain.check_status import SEVERITY, CheckState
from rm360_async.domain.errors import Fault
from rm360_async.system.log import escaped
from rm360_async.system.secrets import masked


@dataclass(frozen=True)
class CheckResult:
    """One thing that was looked at; `mend` says what to do. No secret is ever in it: texts are masked."""

    state: CheckState
    about: str
    text: str
    mend: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return the line as plain values."""
        shown = {"about": self.about, "text": self.text, "mend": self.mend}
        return {"state": self.state.value, **{key: masked(escaped(value)) for key, value in shown.items()}}


def ok(about: str, text: str) -> CheckResult:
    """Return a line of what is as it should be."""
    return CheckResult(CheckState.OK, about, text)


def warn(about: str, text: str, mend: str = "") -> CheckResult:
    """Return a line of what a person should look at."""
    return CheckResult(CheckState.WARN, about, text, mend)


def fail(about: str, text: str, mend: str = "") -> CheckResult:
    """Return a line of what a run cannot go on with."""
    return CheckResult(CheckState.FAIL, about, text, mend)


def fail_of(about: str, fault: Fault) -> CheckResult:
    """Return a line of a Fault."""
    return fail(about, fault.message, fault.hint)


def as_text(lines: Iterable[CheckResult]) -> str:
    """Return the lines as a person reads them; the last one counts them."""
    lines = list(lines)
    counts = Counter(line.state for line in lines)
    told = []
    for line in lines:
        value = line.as_dict()
        told.append(f"{value['state']:<5}{value['about']:<12}{value['text']}")
        if value["mend"]:
            told.append(f"{'':<17}-> {value['mend']}")
    return "\n".join([*told, ", ".join(f"{counts[state]} {state.value}" for state in SEVERITY)])


def as_dict(lines: Sequence[CheckResult], code: int) -> dict[str, Any]:
    """Return the lines as plain values, with the exit code."""
    return {"ok": code == 0, "exit": code, "lines": [line.as_dict() for line in lines]}
