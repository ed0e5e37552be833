"""What a command said and returned, in this process."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass

from fuzz.telling import told_well
from rm360_async.cli.main import run_reporting_errors


@dataclass(frozen=True)
class Said:
    """Exit code, and what went to the two streams."""

    code: int
    stdout: str
    stderr: str

    def wrong(self, *allowed: int) -> list[str]:
        """Return what is wrong with it: another exit code, a traceback, errors that are not lines."""
        wrong = [] if self.code in allowed else [f"exit code {self.code}: {self.stderr[-1500:]}"]
        for line in self.stderr.splitlines()[:200]:
            wrong += told_well(line, "a line of stderr")
            if not line.startswith("error: "):
                wrong.append(f"a line of stderr is no error line: {line[:200]!r}")
        if self.code and not self.stderr:
            wrong.append(f"exit code {self.code} without a word")
        return wrong[:5]


def said(work: Callable[[], int | None]) -> Said:
    """Run some work as the command line does."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        code = run_reporting_errors(work)
    return Said(code, stdout.getvalue(), stderr.getvalue())
