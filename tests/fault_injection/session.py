"""A session: runs on one small remote are disturbed one after another, and the disk is checked after each.

The last run is not disturbed, and then every performance must be published, once. Every disturbance is a round.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from instance import Hook, Instance, processes_of
from workspace import Workspace

from fault_injection.checks import (
    DiskState,
    problems_at_rest,
    problems_at_the_end,
    read_state,
    remaining_processes,
)
from fault_injection.result import Case, SuiteResult
from fault_injection.small_remote import OriginalRemote, run_on
from fault_injection.steps import COMPLETE_SPARSE, RANGE_DOWNLOAD, REUSE, SERVICE, WHOLE_DOWNLOAD, WORKER, Step

MAX_RUN_SECONDS = 120.0


@dataclass
class Session:
    """One remote from its first run to the one that finishes it; `options` are those that every run needs."""

    case: Case
    workspace: Workspace
    original: OriginalRemote
    options: dict[str, Any] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    rounds: int = 0
    hits: Counter[str] = field(default_factory=Counter)
    """The rounds by the name of the step at which they came."""

    def __post_init__(self) -> None:
        self.random = self.case.random
        self.width = self.random.choice((1, 2))
        self.original.restore_earlier_work(self.workspace)
        self.state: DiskState = read_state(self.workspace, self.original)

    def run(self, *hooks: Hook, fetch: str = "", **options: Any) -> Instance:
        """Start a run with that value of processing.fetch, or ("") with any that the remote allows."""
        settings = {
            "processing__fetch": fetch or self.random.choice(self.original.fetch_settings),
            "processing__workers": self.width,
            "processing__downloads": self.width,
        }
        return run_on(self.workspace, hooks, **{**settings, **self.options, **options})

    def steps(self) -> tuple[Step, ...]:
        """Return the steps that can come now; those of a range download count three times where there are any."""
        if "ranges" not in self.original.fetch_settings:
            return (*SERVICE, *WHOLE_DOWNLOAD, *WORKER)
        may_complete = "whole" in self.original.fetch_settings and any(self.workspace.temp.glob("*.sparse"))
        own = (
            *RANGE_DOWNLOAD,
            *(COMPLETE_SPARSE if may_complete else ()),
            *(REUSE if self.original.earlier is not None else ()),
        )
        return (*own, *own, *own, *SERVICE, *WORKER)

    def finish(self) -> None:
        """Run once without disturbance, then check everything."""
        if not self.violations:
            with self.run() as run:
                self.require_exit(run, 0)
            self.check_at_rest()
        if not self.violations:
            self.violations += problems_at_the_end(self.workspace, self.original)

    def wait_for_end(self, run: Instance) -> int:
        """Wait for the end of a run and return its exit code; one that does not end is a violation."""
        with suppress(TimeoutError):
            wait(run, MAX_RUN_SECONDS)
        if run.process.poll() is None:
            self.violations.append(f"the run did not end within {MAX_RUN_SECONDS:.0f} s: {run.output[-2000:]}")
            run.kill()
        return run.process.wait()

    def require_exit(self, run: Instance, *codes: int) -> int:
        """Return the exit code of a run; any other code, and a traceback, is a violation."""
        code = self.wait_for_end(run)
        if code not in codes:
            self.violations.append(f"the run ended with {code}: {run.output[-2000:]}")
        if code == 3 and "error: " not in run.output:
            self.violations.append("the run stopped without an error message")
        if "Traceback" in run.output:
            self.violations.append(f"a traceback: {run.output[-2000:]}")
        return code

    def check_at_rest(self, when: str = "at the end") -> None:
        """Check what is on the disk once all processes are gone."""
        self.violations += [f"{when}: {problem}" for problem in remaining_processes(self.workspace)]
        state = read_state(self.workspace, self.original)
        problems = problems_at_rest(self.workspace, self.original, self.state, state)
        self.violations += [f"{when}: {problem}" for problem in problems]
        self.state = state


def cases(suite: str, weights: Mapping[str, int], seed: int, only: str | None, at: int | None) -> Iterator[Case]:
    """Yield cases without end, of every kind by its weight, or of the kind `only`; with `at` only that one case."""
    if only is not None and at is not None:
        yield Case(only, seed, at, suite)
        return
    kinds = [only] if only else [kind for kind, weight in weights.items() for _ in range(weight)]
    number = 0
    while True:
        Random(f"{seed} {number}").shuffle(kinds)
        for kind in kinds:
            yield Case(kind, seed, number, suite)
            number += 1


def wait(run: Instance, seconds: float) -> None:
    """Wait for the end of a run; raises TimeoutError when it does not come in time."""
    end = time.monotonic() + seconds
    while run.process.poll() is None:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        time.sleep(min(left, 0.005))


def kill_all(workspace: Workspace, random: Random) -> None:
    """Kill every process of the workspace's runs, in random order, also those that start meanwhile."""
    while running := sorted(processes_of(workspace)):
        random.shuffle(running)
        for pid in running:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)


@dataclass
class Sessions:
    """Runs sessions on copies of originals, which are made once; `hits` counts their rounds by step."""

    root: Path
    originals: Sequence[OriginalRemote]
    run_session: Callable[[Case, Workspace, OriginalRemote], Session]
    is_suited: Callable[[str, OriginalRemote], bool] = lambda kind, original: True
    hits: Counter[str] = field(default_factory=Counter)

    def run(self, case: Case) -> SuiteResult:
        """Run the session of a case."""
        start = time.monotonic()
        root = self.root / f"{case.kind}-{case.number}"
        shutil.rmtree(root, ignore_errors=True)
        suited = [original for original in self.originals if self.is_suited(case.kind, original)]
        original = Random(f"{case.seed} {case.number} remote").choice(suited)
        workspace = original.copy(root)
        try:
            session = self.run_session(case, workspace, original)
        finally:
            kill_all(workspace, case.random)
        self.hits += session.hits
        ended = "violation" if session.violations else "resumed and finished"
        seconds = time.monotonic() - start
        return SuiteResult(case, ended, session.violations, [root], seconds, session.rounds)

    def remove_evidence(self, result: SuiteResult) -> None:
        """Remove the folder of a case that is kept elsewhere, or not needed."""
        for path in result.evidence:
            shutil.rmtree(path, ignore_errors=True)
