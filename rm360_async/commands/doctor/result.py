"""The results of the doctor's checks, as text and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rm360_async.domain.check_status import SEVERITY, CheckState
from rm360_async.domain.errors import Fault
from rm360_async.domain.exit_code import ExitCode
from rm360_async.system.log import escaped
from rm360_async.system.secrets import masked

MAX_NAMES_SHOWN = 5


@dataclass(frozen=True)
class CheckResult:
    """The result of one check; `hint` says what to do. Secrets in the texts are masked when they are shown."""

    state: CheckState
    subject: str
    text: str
    hint: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return the result as JSON values."""
        texts = {"about": self.subject, "text": self.text, "mend": self.hint}
        return {"state": self.state.value, **{key: masked(escaped(text)) for key, text in texts.items()}}


def ok(subject: str, text: str) -> CheckResult:
    """Return the result of a check that passed."""
    return CheckResult(CheckState.OK, subject, text)


def warn(subject: str, text: str, hint: str = "") -> CheckResult:
    """Return the result of a check that found something the user should look at."""
    return CheckResult(CheckState.WARN, subject, text, hint)


def fail(subject: str, text: str, hint: str = "") -> CheckResult:
    """Return the result of a check that found something that prevents a run."""
    return CheckResult(CheckState.FAIL, subject, text, hint)


def fail_of(subject: str, fault: Fault) -> CheckResult:
    """Return the result of a check that ended with a Fault."""
    return fail(subject, fault.message, fault.hint)


def shortened(names: Sequence[object]) -> str:
    """Return the first names and the number of the others, e.g. `a, b and 3 more`."""
    more = len(names) - MAX_NAMES_SHOWN
    return ", ".join(map(str, names[:MAX_NAMES_SHOWN])) + (f" and {more} more" if more > 0 else "")


def exit_code(results: Iterable[CheckResult]) -> ExitCode:
    """Return BAD_REQUEST if the config is wrong, SOME_FAILED if another check failed, else DONE."""
    failed = {result.subject for result in results if result.state is CheckState.FAIL}
    if "config" in failed:
        return ExitCode.BAD_REQUEST
    return ExitCode.SOME_FAILED if failed else ExitCode.DONE


def as_text(results: Sequence[CheckResult]) -> str:
    """Return the results as text for a terminal; the last line counts them by state."""
    counts = Counter(result.state for result in results)
    lines = []
    for result in results:
        texts = result.as_dict()
        lines.append(f"{texts['state']:<5}{texts['about']:<12}{texts['text']}")
        if result.hint:
            lines.append(f"{'':<17}-> {texts['mend']}")
    return "\n".join([*lines, ", ".join(f"{counts[state]} {state.value}" for state in SEVERITY)])


def as_dict(results: Sequence[CheckResult], code: ExitCode) -> dict[str, Any]:
    """Return the results and the exit code as JSON values."""
    return {"ok": code is ExitCode.DONE, "exit": int(code), "lines": [result.as_dict() for result in results]}
