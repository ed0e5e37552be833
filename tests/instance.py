"""Runs in processes of their own, with fault hooks: a test signals them, kills them and observes them from outside."""

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
TIMEOUT_SECONDS = 60.0
Hook = dict[str, Any]


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Poll until a condition about another process holds; fail with `what` after `TIMEOUT_SECONDS`."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.005)


class RecordingRclone:
    """The real rclone behind a script in `<workspace>/bin` that records each call.

    While the file `hold_file` exists, `rclone serve` waits before it starts.
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.folder = workspace.root / "bin"
        self.call_log, self.hold_file = workspace.root / "calls", workspace.root / "hold"
        self.folder.mkdir()
        self.call_log.touch()
        self.real = shutil.which("rclone") or find_rclone()
        self.write_script("")

    def write_script(self, lines: str) -> None:
        """Write the script; `lines` of shell run before the real rclone, with its command in $1."""
        script = self.folder / "rclone"
        script.write_text(
            f'#!/bin/sh\necho "$*" >> "{self.call_log}"\n'
            f'while [ "$1" = serve ] && [ -e "{self.hold_file}" ]; do sleep 0.01; done\n'
            f'{lines}\nexec "{self.real}" "$@"\n'
        )
        script.chmod(0o755)

    def downloads(self, name: str = "") -> list[str]:
        """Return the log's lines about the downloads so far, of those that contain `name`."""
        lines = self.workspace.log().splitlines()
        return [line for line in lines if "INFO  downloading " in line and name in line]


class Instance:
    """One `rm360 run` in a process and session of its own, killed when the context ends.

    `hooks` say what happens at which fault point (see hook/sitecustomize.py), `prefix` is a command that runs it, and
    `terminal` a descriptor that it gets as its controlling terminal.
    """

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
        with self.console.open("wb") as console:
            streams = [console if terminal is None else terminal] * 2
            stdin = subprocess.DEVNULL if terminal is None else terminal
            # setsid --ctty makes the terminal the controlling terminal of the new session.
            setsid = [] if terminal is None else ["setsid", "--ctty", "--wait"]
            self.process = subprocess.Popen(
                [*setsid, *command],
                cwd=ROOT,
                env=env,
                stdin=stdin,
                stdout=streams[0],
                stderr=streams[1],
                start_new_session=terminal is None,
            )

    @property
    def output(self) -> str:
        """Return what it has printed so far, to stdout and stderr."""
        return self.console.read_text(errors="replace")

    def wait(self) -> int:
        """Wait for its end; return the exit code (negative: the signal that killed it)."""
        try:
            return self.process.wait(TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the run did not end; its output:\n{self.output}\n{self.workspace.log()}") from None

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


def processes_of(workspace: Workspace) -> dict[int, str]:
    """Return the command lines of the runs, workers and rclones of a workspace, by process id.

    They are recognised by the rclone config in their environment. Each argument ends with a zero byte, as in /proc.
    """
    commands = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal() or int(folder.name) == os.getpid():
            continue
        with suppress(OSError):
            if f"RCLONE_CONFIG={workspace.root}/".encode() in (folder / "environ").read_bytes():
                commands[int(folder.name)] = (folder / "cmdline").read_bytes().decode(errors="replace")
    return {pid: command for pid, command in commands.items() if command}


def command_lines(workspace: Workspace) -> list[str]:
    """Return the command lines of all processes of a workspace."""
    return [command.replace("\0", " ") for command in processes_of(workspace).values()]


def barrier_at(workspace: Workspace, name: str, point: str, **more: Any) -> tuple[Path, Hook]:
    """Return the path of a barrier at a fault point, and the hook that waits there (see hook/sitecustomize.py)."""
    path = workspace.root / name
    return path, {"point": point, "do": "barrier", "path": str(path), **more}


def wait_until_reached(barrier: Path) -> None:
    """Wait until a process waits at the barrier."""
    wait_until(Path(f"{barrier}.reached").exists, f"{barrier.name} reached")
