"""The event loop of a run waits for no disk: real runs, whose disk calls are recorded, slow, or do not return."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from disk_calls import DiskCall, build_library, disk_environment, recorded_calls, service_manager
from instance import ROOT, Instance, wait_until
from tiny_smc import Tiny
from workspace import Workspace

ALLOWED = {
    "anyio/_core/_subprocesses.py:open_process": "a child process is started by the thread that its life is tied to",
}
"""Which calls of the event loop's thread may stay, by the function that makes them, and why."""
SMALL = Tiny(calibration=False, audio=False)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the library that is preloaded into runs."""
    return build_library(tmp_path_factory.mktemp("library"))


def is_allowed(call: DiskCall) -> bool:
    return any(call.has(function) for function in ALLOWED)


def offenders(record: Path) -> str:
    """Return a line for each kind of call that the event loop's thread may not make."""
    calls = [call for call in recorded_calls(record) if call.stack and not is_allowed(call)]
    return "\n".join(sorted({str(call) for call in calls}))


PROBE = """
import os, socket, sys, threading
os.stat(sys.argv[2])
sender, receiver = socket.socketpair()
sender.send(b"READY=1")
thread = threading.Thread(target=os.listdir, args=(sys.argv[2],))
thread.start()
thread.join()
def look():
    os.statvfs(sys.argv[2])
look()
"""


def test_the_record_has_the_calls_of_the_main_thread_with_their_stack(tmp_path: Path, library: Path) -> None:
    record = tmp_path / "record"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "hook")}
    environment |= disk_environment(library, tmp_path, record=record)
    command = [sys.executable, "-c", PROBE, "rm360_async run", str(tmp_path)]
    subprocess.run(command, env=environment, check=True, timeout=60)
    calls = [call for call in recorded_calls(record) if call.path == str(tmp_path)]
    assert [(call.call.removesuffix("64"), call.has(":look")) for call in calls] == [("statvfs", True)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [{"processing__fetch": "whole"}, {"processing__fetch": "ranges", "extraction__cameras": ["25"]}],
    ids=["whole", "ranges"],
)
def test_the_event_loop_calls_no_file_system(workspace: Workspace, library: Path, overrides: dict[str, Any]) -> None:
    """From READY to the end: a start on folders that exist, downloads, failures, a stop, and a start that goes on."""
    workspace.subjects = ["0018", "0026"]
    names = ["0018/e0", "0018/e1", "0026/e0", "0026/e1"]
    for name in names:
        subject, part = name.split("/")
        workspace.put(f"{subject}/{subject}_{part}_raw.smc", Tiny(subject, part, filler=20_000))
    workspace.put("0026/0026_e2_raw.smc", b"not HDF5")
    record = workspace.root / "record"
    overrides["storage__metrics_path"] = str(workspace.root / "rm360.prom")
    with service_manager() as manager:
        environment = {
            **disk_environment(library, workspace.root, record=record),
            **manager.environment(watchdog_seconds=1.0),
        }
        with Instance(workspace, environment=environment, **overrides) as run:
            wait_until(lambda: workspace.folder(names[0]).exists(), f"{names[0]} published")
            run.signal(signal.SIGTERM)
            run.wait()
        with Instance(workspace, environment=environment, **overrides) as run:
            assert run.wait() == 1, run.output
    assert all(workspace.folder(name).is_dir() for name in names)
    assert not (found := offenders(record)), f"calls of the event loop's thread on a disk:\n{found}"
