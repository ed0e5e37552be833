"""Rounds that need no worker, done many at a time in a child: configs, listings, ledgers, `rm360 inspect`.

The child does one round after the other under an alarm and prints a JSON line for each. When it dies, the
round after its last line is the one that killed it, and a new child goes on behind it.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from fault_injection.result import Case, SuiteResult

_CPU_SECONDS, _WALL_SECONDS = 30, 300
"""A round hangs when it computes so long, or waits so long: on a busy machine the clock alone tells nothing."""
_TESTS = Path(__file__).resolve().parent.parent
_MEMORY = 1024 * 2**20
Round = Callable[[Case, Path], SuiteResult]


def rounds() -> dict[str, Round]:
    """Return every kind of round of this sort by name."""
    from fuzz import config_rounds, inspect_rounds, ledger_rounds, listing_rounds

    return {
        "config": config_rounds.one,
        "listing": listing_rounds.one,
        "ledger": ledger_rounds.one,
        "inspect": inspect_rounds.one,
    }


KINDS = ("config", "listing", "ledger", "inspect")


def run_batch(kind: str, seed: int, numbers: range, folder: Path) -> Iterator[SuiteResult]:
    """Do rounds in children and yield how each ended; evidence lies in `folder` until the next one."""
    folder.mkdir(exist_ok=True)
    pending = list(numbers)
    while pending:
        command = [sys.executable, "-m", "fuzz.batch", kind, str(seed), str(pending[0]), str(pending[-1] + 1)]
        child = subprocess.Popen(
            [*command, str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=_TESTS,
            env=_environment(),
        )
        assert child.stdout is not None and child.stderr is not None
        for line in child.stdout:
            said = json.loads(line)
            case = Case(kind, seed, pending.pop(0))
            evidence = [Path(path) for path in said["evidence"]]
            yield SuiteResult(case, said["ended"], said["violations"], evidence, said["seconds"])
        words = child.stderr.read().decode(errors="replace").strip().splitlines()
        child.stdout.close()
        child.stderr.close()
        if child.wait() and pending:
            yield _death(Case(kind, seed, pending.pop(0)), child.returncode, words, folder)
        elif pending:
            raise RuntimeError("a batch ended before its rounds did")


def _environment() -> dict[str, str]:
    paths = filter(None, [str(_TESTS.parent), os.environ.get("PYTHONPATH")])
    # each thread's arena of memory counts as 64 MB of address space
    return {**os.environ, "MALLOC_ARENA_MAX": "2", "PYTHONPATH": os.pathsep.join(paths)}


def _death(case: Case, returncode: int, words: list[str], folder: Path) -> SuiteResult:
    evidence = [path for path in folder.iterdir() if path.is_file()]
    if returncode in (-signal.SIGALRM, -signal.SIGPROF):
        words = [f"did not end within {_CPU_SECONDS} s of CPU and {_WALL_SECONDS} s in all"]
        return SuiteResult(case, "hang", words, evidence, _CPU_SECONDS)
    return SuiteResult(case, "died", [f"the process ended with {returncode}: {words[-1:]}"], evidence)


def main(kind: str, seed: str, first: str, last: str, folder: str) -> None:
    """Do the rounds, one line each."""
    one = rounds()[kind]
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    tempfile.tempdir = folder
    for number in range(int(first), int(last)):
        signal.setitimer(signal.ITIMER_PROF, _CPU_SECONDS)
        signal.alarm(_WALL_SECONDS)
        start = time.monotonic()
        verdict = one(Case(kind, int(seed), number), Path(folder))
        said = {
            "ended": verdict.ended,
            "violations": verdict.violations,
            "evidence": [str(path) for path in _set_aside(verdict, Path(folder))],
            "seconds": time.monotonic() - start,
        }
        print(json.dumps(said), flush=True)


def _set_aside(verdict: SuiteResult, folder: Path) -> list[Path]:
    """Copy the input of a violation to a place that the next round does not write to."""
    if not verdict.violations:
        return []
    place = folder / str(verdict.case.number)
    place.mkdir()
    return [Path(shutil.copyfile(path, place / path.name)) for path in verdict.evidence]


if __name__ == "__main__":
    main(*sys.argv[1:])
