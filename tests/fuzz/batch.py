"""Rounds that need no worker, many of them in one child process: configs, listings, ledgers, `rm360 inspect`.

The child runs one round after the other under an alarm and prints a JSON line for each. When it dies, the round after
its last line is the one that killed it, and a new child continues with the next round.
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
"""Limits of a round, in CPU and in wall-clock time: on a busy machine the clock alone says nothing."""
_TESTS = Path(__file__).resolve().parent.parent
_MEMORY_BYTES = 1024 * 2**20
RunRound = Callable[[Case, Path], SuiteResult]
KINDS = ("config", "listing", "ledger", "inspect")


def round_functions() -> dict[str, RunRound]:
    """Return the function that runs a round of each kind."""
    from fuzz import config_rounds, inspect_rounds, ledger_rounds, listing_rounds

    modules = (config_rounds, listing_rounds, ledger_rounds, inspect_rounds)
    return {kind: module.run_round for kind, module in zip(KINDS, modules, strict=True)}


def run_batch(kind: str, seed: int, numbers: range, folder: Path) -> Iterator[SuiteResult]:
    """Run rounds in children and yield their results; the evidence lies in `folder` until the next result."""
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
            values = json.loads(line)
            case = Case(kind, seed, pending.pop(0))
            evidence = [Path(path) for path in values["evidence"]]
            yield SuiteResult(case, values["ended"], values["violations"], evidence, values["seconds"])
        errors = child.stderr.read().decode(errors="replace").strip().splitlines()
        child.stdout.close()
        child.stderr.close()
        if child.wait() and pending:
            yield _result_of_death(Case(kind, seed, pending.pop(0)), child.returncode, errors, folder)
        elif pending:
            raise RuntimeError("a batch ended before its last round")


def _environment() -> dict[str, str]:
    paths = filter(None, [str(_TESTS.parent), os.environ.get("PYTHONPATH")])
    # the memory arena of each thread counts as 64 MB of address space
    return {**os.environ, "MALLOC_ARENA_MAX": "2", "PYTHONPATH": os.pathsep.join(paths)}


def _result_of_death(case: Case, returncode: int, errors: list[str], folder: Path) -> SuiteResult:
    evidence = [path for path in folder.iterdir() if path.is_file()]
    if returncode in (-signal.SIGALRM, -signal.SIGPROF):
        violation = f"did not end within {_CPU_SECONDS} s of CPU and {_WALL_SECONDS} s in all"
        return SuiteResult(case, "hang", [violation], evidence, _CPU_SECONDS)
    return SuiteResult(case, "died", [f"the process ended with {returncode}: {errors[-1:]}"], evidence)


def main(kind: str, seed: str, first: str, last: str, folder: str) -> None:
    """Run rounds, and print one line for each."""
    run_round = round_functions()[kind]
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    tempfile.tempdir = folder
    for number in range(int(first), int(last)):
        signal.setitimer(signal.ITIMER_PROF, _CPU_SECONDS)
        signal.alarm(_WALL_SECONDS)
        start = time.monotonic()
        result = run_round(Case(kind, int(seed), number), Path(folder))
        values = {
            "ended": result.ended,
            "violations": result.violations,
            "evidence": [str(path) for path in _kept_evidence(result, Path(folder))],
            "seconds": time.monotonic() - start,
        }
        print(json.dumps(values), flush=True)


def _kept_evidence(result: SuiteResult, folder: Path) -> list[Path]:
    """Copy the input of a violation to a folder that the next round does not write to; return the copies."""
    if not result.violations:
        return []
    kept = folder / str(result.case.number)
    kept.mkdir()
    return [Path(shutil.copyfile(path, kept / path.name)) for path in result.evidence]


if __name__ == "__main__":
    main(*sys.argv[1:])
