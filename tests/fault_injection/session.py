"""The life of one small remote: run after run on it is disturbed, and looked at before the next one goes on.

The run that comes to its end closes the life, and then everything must be there, once. Every disturbance is a
round.
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

from fault_injection.checks import Seen, gone, look, wrong_at_rest, wrong_at_the_end
from fault_injection.result import Case, SuiteResult
from fault_injection.small_remote import Original, run_on
from fault_injection.steps import COMPLETE_SPARSE, RANGE_DOWNLOAD, REUSE, SERVICE, WHOLE_DOWNLOAD, WORKER, Step

LONGEST_RUN = 120.0


@dataclass
class Session:
    """One remote from its first run to the one that finishes it; `more` is what each run needs beside."""

    case: Case
    workspace: Workspace
    original: Original
    more: dict[str, Any] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    rounds: int = 0
    hit: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.random = self.case.random
        self.width = self.random.choice((1, 2))
        self.original.begin(self.workspace)
        self.seen: Seen = look(self.workspace, self.original)

    def run(self, *hooks: Hook, way: str = "", **more: Any) -> Instance:
        """Start a run on the remote, with that way of fetching or ("") any of the remote's."""
        fetch = {"processing__fetch": way or self.random.choice(self.original.ways)}
        widths = {"processing__workers": self.width, "processing__downloads": self.width}
        return run_on(self.workspace, hooks, **{**fetch, **widths, **self.more, **more})

    def steps(self) -> tuple[Step, ...]:
        """Return the steps that can come now; where ranges are the way, most are those that come there only."""
        if "ranges" not in self.original.ways:
            return (*SERVICE, *WHOLE_DOWNLOAD, *WORKER)
        sparse = COMPLETE_SPARSE if "whole" in self.original.ways and any(self.workspace.temp.glob("*.sparse")) else ()
        own = (*RANGE_DOWNLOAD, *sparse, *(REUSE if self.original.earlier is not None else ()))
        return (*own, *own, *own, *SERVICE, *WORKER)

    def finish(self) -> None:
        """Let a last run end by itself, then look at everything."""
        if not self.violations:
            with self.run() as run:
                self.require(run, 0)
            self.rest()
        if not self.violations:
            self.violations += wrong_at_the_end(self.workspace, self.original)

    def ended(self, run: Instance) -> int:
        """Wait for a run's end; one that does not end is a violation."""
        with suppress(TimeoutError):
            wait(run, LONGEST_RUN)
        if run.process.poll() is None:
            self.violations.append(f"the run did not end within {LONGEST_RUN:.0f} s: {run.output[-2000:]}")
            run.kill()
        return run.process.wait()

    def require(self, run: Instance, *codes: int) -> int:
        """Note a violation when a run ends otherwise, or with a traceback; return its exit code."""
        ended = self.ended(run)
        if ended not in codes:
            self.violations.append(f"the run ended with {ended}: {run.output[-2000:]}")
        if ended == 3 and "error: " not in run.output:
            self.violations.append("the run stopped, and does not say why")
        if "Traceback" in run.output:
            self.violations.append(f"a traceback: {run.output[-2000:]}")
        return ended

    def rest(self, what: str = "at the end") -> None:
        """Look at what is there once all processes are gone."""
        self.violations += [f"{what}: {wrong}" for wrong in gone(self.workspace)]
        now = look(self.workspace, self.original)
        self.violations += [
            f"{what}: {wrong}" for wrong in wrong_at_rest(self.workspace, self.original, self.seen, now)
        ]
        self.seen = now


def cases(suite: str, shares: Mapping[str, int], seed: int, only: str | None, at: int | None) -> Iterator[Case]:
    """Yield cases of every kind, as often in turn as its share, or of one, without end; with `at` this one alone."""
    if only is not None and at is not None:
        yield Case(only, seed, at, suite)
        return
    turns = [only] if only else [kind for kind, share in shares.items() for _ in range(share)]
    number = 0
    while True:
        Random(f"{seed} {number}").shuffle(turns)
        for kind in turns:
            yield Case(kind, seed, number, suite)
            number += 1


def wait(run: Instance, seconds: float) -> None:
    """Wait for the end of a run; TimeoutError when it does not come."""
    end = time.monotonic() + seconds
    while run.process.poll() is None:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        time.sleep(min(left, 0.005))


def kill_all(workspace: Workspace, random: Random) -> None:
    """Kill every process of a lab's runs, in any order, also those that start meanwhile."""
    while found := sorted(processes_of(workspace)):
        random.shuffle(found)
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)


@dataclass
class Sessions:
    """Does lives on copies of originals, which are made once. `hit` counts the rounds by their named step."""

    root: Path
    originals: Sequence[Original]
    live: Callable[[Case, Workspace, Original], Session]
    suited: Callable[[str, Original], bool] = lambda kind, original: True
    hit: Counter[str] = field(default_factory=Counter)

    def session(self, case: Case) -> SuiteResult:
        """Live one life and judge it."""
        start = time.monotonic()
        root = self.root / f"{case.kind}-{case.number}"
        shutil.rmtree(root, ignore_errors=True)
        suited = [original for original in self.originals if self.suited(case.kind, original)]
        original = Random(f"{case.seed} {case.number} remote").choice(suited)
        workspace = original.copy(root)
        try:
            session = self.live(case, workspace, original)
        finally:
            kill_all(workspace, case.random)
        self.hit += session.hit
        verdict = SuiteResult(case, "resumed and finished", session.violations, [root], rounds=session.rounds)
        verdict.seconds = time.monotonic() - start
        if session.violations:
            verdict.ended = "violation"
        return verdict

    def forget(self, verdict: SuiteResult) -> None:
        """Remove the folder of a case that was kept elsewhere, or is not needed."""
        for path in verdict.evidence:
            shutil.rmtree(path, ignore_errors=True)
