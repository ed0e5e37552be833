"""Runs as processes of their own: started with hooks, signalled, killed, and looked at from outside."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from workspace import Workspace

from rm360_async.download.rclone import find_rclone

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 60.0
Hook = dict[str, Any]


def until(condition: Callable[[], object], what: str) -> None:
    """Look again and again until the condition holds; it is about another process, which we cannot wait for."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.005)


class Rclone:
    """The real rclone on PATH behind a script that notes each call, and holds `cat` while `hold` is there."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.folder, self.calls, self.hold = workspace.root / "bin", workspace.root / "calls", workspace.root / "hold"
        self.folder.mkdir()
        self.calls.touch()
        self.real = shutil.which("rclone") or find_rclone()
        self.write("")

    def write(self, lines: str) -> None:
        """Write the script; `lines` of shell run before the real thing, with the verb in $1."""
        script = self.folder / "rclone"
        script.write_text(
            f'#!/bin/sh\necho "$*" >> "{self.calls}"\n'
            f'while [ "$1" = cat ] && [ -e "{self.hold}" ]; do sleep 0.01; done\n'
            f'{lines}\nexec "{self.real}" "$@"\n'
        )
        script.chmod(0o755)

    def fetched(self, name: str = "") -> list[str]:
        """Return the downloads so far, one command line each."""
        return [line for line in self.calls.read_text().splitlines() if line.startswith("cat ") and name in line]


class Instance:
    """One `rm360 run` as a process, in a session of its own."""

    def __init__(
        self,
        workspace: Workspace,
        *arguments: str,
        config: Path | None = None,
        hooks: Sequence[Hook] = (),
        prefix: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        terminal: int | None = None,
        **overrides: Any,
    ) -> None:
        self.workspace = workspace
        config = config or workspace.config(**overrides)
        self.console = config.with_suffix(f".{time.monotonic_ns()}.console")
        env = {
            **os.environ,
            "PATH": os.pathsep.join([str(workspace.root / "bin"), os.environ["PATH"]]),
            "PYTHONPATH": str(ROOT / "tests" / "hook"),
            "RM360_FAULT_HOOKS": json.dumps(list(hooks)),
            **(environment or {}),
        }
        command = [*prefix, sys.executable, "-m", "rm360_async", "run", str(config), *arguments]
        with self.console.open("wb") as said:
            streams = [said if terminal is None else terminal] * 2
            nothing = subprocess.DEVNULL if terminal is None else terminal
            # A program in a session of its own makes the first terminal that it opens the session's.
            taking = [] if terminal is None else ["setsid", "--ctty", "--wait"]
            self.process = subprocess.Popen(
                [*taking, *command],
                cwd=ROOT,
                env=env,
                stdin=nothing,
                stdout=streams[0],
                stderr=streams[1],
                start_new_session=terminal is None,
            )

    @property
    def said(self) -> str:
        """Return what it has printed so far."""
        return self.console.read_text(errors="replace")

    def wait(self) -> int:
        """Wait for its end; return the exit code (negative: the signal that killed it)."""
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it never ended; it said:\n{self.said}\n{self.workspace.log()}") from None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill it at once, and wait."""
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()

    def __enter__(self) -> Instance:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def processes(workspace: Workspace) -> dict[int, str]:
    """Return every process that uses the lab's rclone config (runs, workers, rclones) with its command line.

    The words of a command line end with a zero byte each, as /proc has them.
    """
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal() or int(folder.name) == os.getpid():
            continue
        with suppress(OSError):
            if f"RCLONE_CONFIG={workspace.root}/".encode() in (folder / "environ").read_bytes():
                found[int(folder.name)] = (folder / "cmdline").read_bytes().decode(errors="replace")
    return {pid: command for pid, command in found.items() if command}


def children(workspace: Workspace) -> list[str]:
    """Return the command lines of all processes of the lab."""
    return [command.replace("\0", " ") for command in processes(workspace).values()]


def barrier_at(workspace: Workspace, name: str, point: str, **more: Any) -> tuple[Path, Hook]:
    """Return the path of a barrier at a fault point, and the hook that waits there (see hook/sitecustomize.py)."""
    path = workspace.root / name
    return path, {"point": point, "do": "barrier", "path": str(path), **more}


def reached(barrier: Path) -> None:
    """Wait until a process waits at the barrier."""
    until(Path(f"{barrier}.reached").exists, f"{barrier.name} reached")
