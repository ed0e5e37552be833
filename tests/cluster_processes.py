"""A cluster on one machine: the coordinator and its nodes as processes, each node with a disk of its own."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from instance import ROOT, TIMEOUT_SECONDS, Hook, Instance, wait_until
from workspace import Workspace


class ClusterNode:
    """One `rm360 node` in a process and session of its own, killed with its children when the context ends."""

    def __init__(
        self,
        workspace: Workspace,
        name: str,
        *arguments: str,
        hooks: Sequence[Hook] = (),
        prefix: Sequence[str] = (),
        **environment: str,
    ) -> None:
        self.workspace, self.name = workspace, name
        self.temp_dir = workspace.root / f"disk-{name}" / "temp"
        self.console = workspace.root / f"{name}.{time.monotonic_ns()}.console"
        env = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "tests" / "hook"),
            "RM360_FAULT_HOOKS": json.dumps(list(hooks)),
            **environment,
        }
        options = ["--scheduler-file", str(scheduler_file(workspace)), "--name", name, "--temp-dir", str(self.temp_dir)]
        with self.console.open("wb") as console:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "rm360_async", "node", *options, *arguments],
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """Return what it has printed so far."""
        return self.console.read_text(errors="replace")

    @property
    def spooled(self) -> list[str]:
        """Return the names of the files in its spool."""
        return sorted(path.name for path in self.temp_dir.glob("*.smc*"))

    def wait(self) -> int:
        """Wait for its end; return the exit code."""
        try:
            return self.process.wait(TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the node did not end; its output:\n{self.output}") from None

    def wait_ready(self) -> None:
        """Wait until it looks for a run: it will join within a second or two."""
        wait_until(lambda: "waiting for a run" in self.output, f"{self.name} looks for a run:\n{self.output}")

    def wait_joined(self) -> None:
        """Wait until it has joined a run."""
        wait_until(lambda: "joined as" in self.output, f"{self.name} joined:\n{self.output}")

    @property
    def knows_the_end(self) -> bool:
        """Return True if it is in no run: each that it has joined is gone."""
        return self.output.count("the run is gone") >= self.output.count("joined as")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill it at once, and wait; its children die with it."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()

    def __enter__(self) -> ClusterNode:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def scheduler_file(workspace: Workspace) -> Path:
    """Return the file in which the nodes of a workspace find its run."""
    return workspace.root / "cluster.json"


def coordinator(workspace: Workspace, *arguments: str, hooks: Sequence[Hook] = (), **overrides: Any) -> Instance:
    """Start `rm360 run` as the coordinator of a cluster; the nodes have disks of their own."""
    cluster = {"cluster__scheduler_file": str(scheduler_file(workspace)), "cluster__lost_after_seconds": 5}
    cluster["logging__level"] = "DEBUG"  # which tells what is charged
    return Instance(workspace, *arguments, hooks=hooks, **{**cluster, **overrides})


def outcomes(workspace: Workspace) -> dict[str, Counter[str]]:
    """Return how the attempts of each performance ended, by the ledger."""
    query = """
        SELECT subject || '/' || name, coalesce(outcome, 'open') FROM attempt
        JOIN performance ON performance.id = attempt.performance
    """
    found: dict[str, Counter[str]] = {}
    with closing(sqlite3.connect(workspace.root / "work" / "MANIFEST.sqlite")) as ledger:
        for name, outcome in ledger.execute(query):
            found.setdefault(name, Counter())[outcome] += 1
    return found
