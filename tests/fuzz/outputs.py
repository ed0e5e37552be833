"""Run a command in this process, and check what it prints: messages have to be lines that a person can read."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass

_MAX_MESSAGE_CHARS = 4000


def message_problems(text: str, what: str) -> list[str]:
    """Return what is wrong with a message for a person: several lines, unprintable, too long, a traceback."""
    problems = []
    if not text.strip() or not text.isprintable():
        problems.append(f"{what} is not one printable line: {text[:300]!r}")
    if "Traceback" in text or "Error(" in text or "object at 0x" in text:
        problems.append(f"{what} shows internals of the program: {text[:300]!r}")
    if len(text) > _MAX_MESSAGE_CHARS:
        problems.append(f"{what} is {len(text)} characters long")
    return problems


@dataclass(frozen=True)
class CommandOutput:
    """The exit code of a command, and what it printed to the two streams."""

    code: int
    stdout: str
    stderr: str

    def problems(self, *allowed: int) -> list[str]:
        """Return what is wrong with it: an exit code that is not allowed, a traceback, malformed error lines."""
        problems = [] if self.code in allowed else [f"exit code {self.code}: {self.stderr[-1500:]}"]
        for line in self.stderr.splitlines()[:200]:
            problems += message_problems(line, "a line of stderr")
            if not line.startswith("error: "):
                problems.append(f"a line of stderr is not an error line: {line[:200]!r}")
        if self.code and not self.stderr and "note: " not in self.stdout:  # notes say what is wrong with a file
            problems.append(f"exit code {self.code} without a message")
        return problems[:5]


def output_of(run: Callable[[], int | None]) -> CommandOutput:
    """Run a function as the command line runs a command, and return what it printed."""
    from rm360_async.cli.main import run_reporting_errors

    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        code = run_reporting_errors(run)
    return CommandOutput(code, stdout.getvalue(), stderr.getvalue())
