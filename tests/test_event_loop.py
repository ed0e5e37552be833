"""The event loop of a run waits for no disk: real runs, whose disk calls are recorded, slow, or do not return."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
from cluster_processes import ClusterNode, coordinator, scheduler_file
from disk_calls import DiskCall, build_library, disk_environment, recorded_calls, service_manager
from instance import ROOT, Instance, wait_until
from simulation.clock import VirtualLoop, run_virtually
from tiny_smc import Tiny
from workspace import Workspace

from rm360_async.config import Settings
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.exit_code import ExitCode
from rm360_async.domain.record import Record, SourceFile
from rm360_async.domain.retry import RetryPolicy
from rm360_async.download.rclone import RemoteListing
from rm360_async.service.startup import list_patiently, service_heartbeat
from rm360_async.store.marker import MARKER
from rm360_async.system import systemd

ALLOWED = {
    "anyio/_core/_subprocesses.py:open_process": "a child process is started by the thread that its life is tied to",
}
"""Which calls of the event loop's thread may stay, by the function that makes them, and why."""


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


@pytest.mark.slow
def test_the_event_loop_of_a_coordinator_calls_no_shared_file_system(workspace: Workspace, library: Path) -> None:
    """Its output folder and the file in which nodes find it are on a file system that all share, and may hang."""
    for number in range(2):
        workspace.put(f"0018/0018_e{number}_raw.smc", Tiny("0018", f"e{number}"))
    record = workspace.root / "record"
    with service_manager() as manager:
        environment = {
            **disk_environment(library, workspace.root, record=record),
            **manager.environment(watchdog_seconds=1.0),
        }
        with coordinator(workspace, environment=environment) as run, ClusterNode(workspace, "n1") as node:
            assert run.wait() == 0, run.output + node.output
    assert not scheduler_file(workspace).exists() and not list(workspace.output.glob(".rm360-run-*"))
    calls = offenders(record).splitlines()  # those of Dask are on disks of this machine
    shared = [call for call in calls if str(workspace.root) in call]
    assert calls and not shared, "\n".join(shared)


@pytest.mark.slow
def test_a_disk_that_does_not_answer_stops_neither_the_start_nor_the_heartbeat(
    workspace: Workspace, library: Path
) -> None:
    """The gate closes before the start and again and again until the end: whatever waits for it, the loop does not."""
    for number in range(4):
        workspace.put(f"0018/0018_e{number}_raw.smc", Tiny("0018", f"e{number}", filler=20_000))
    gate = workspace.root / "gate"
    gate.touch()
    with service_manager() as manager:
        environment = {
            **disk_environment(library, workspace.root / "work", delay_seconds=0.001, gate=gate),
            **manager.environment(watchdog_seconds=0.2),
        }
        with Instance(workspace, environment=environment) as run:
            closings = 0
            while run.process.poll() is None:
                gate.touch()
                fed = manager.count("WATCHDOG=1")
                wait_until(lambda: manager.count("WATCHDOG=1") >= fed + 3 or run.process.poll() is not None, "fed")  # noqa: B023
                closings += 1
                assert manager.messages[0][1] == "READY=1"
                gate.unlink()
                time.sleep(0.2)
            assert run.wait() == 0, run.output
    assert closings > 3 and workspace.leftovers() == []


def existing_folders(output: Path, count: int) -> None:
    """Make published folders that hold only a marker, as an earlier run left them."""
    record = Record(
        subject="SUBJECT",
        performance="NAME",
        version="0.3.0",
        published="2026-11-20T12:00:00+01:00",
        sources=(SourceFile("x.smc", 1),),
        wanted_cameras="all",
        wanted_modalities=("images",),
        modalities=("images",),
        absent=(),
        cameras={"25": 12},
        frames=12,
        fps=None,
        left_out=(),
        files=12,
        bytes=1000,
    )
    marker = record.to_json()
    for number in range(count):
        folder = output / f"{number // 25 + 1:04d}" / f"e{number % 25}"
        folder.mkdir(parents=True)
        (folder / MARKER).write_text(marker.replace("SUBJECT", folder.parent.name).replace("NAME", folder.name))


def completed(workspace: Workspace) -> list[str]:
    """Return the completed performances of the ledger."""
    with closing(sqlite3.connect(workspace.root / "work" / "MANIFEST.sqlite")) as ledger:
        rows = ledger.execute("SELECT subject, name FROM performance WHERE stage = 'completed'").fetchall()
    return [f"{subject}/{name}" for subject, name in rows]


@pytest.mark.slow
def test_thousands_of_existing_folders_on_a_slow_disk_are_imported_under_the_watchdog(
    workspace: Workspace, library: Path
) -> None:
    """The import takes several times as long as the watchdog waits; before it was part of the start."""
    existing_folders(workspace.output, 5_000)
    workspace.put("0018/0018_s1_all_raw.smc", Tiny("0018", "s1_all"))
    with service_manager() as manager:
        environment = {
            **disk_environment(library, workspace.output, delay_seconds=0.0001),
            **manager.environment(watchdog_seconds=1.0),
        }
        with Instance(workspace, environment=environment) as run:
            assert run.process.wait(600) == 0, run.output
    texts = [text for _, text in manager.messages]
    imported = next(number for number, text in enumerate(texts) if text.startswith("STATUS=0 of 1 completed"))
    assert texts[0] == "READY=1" and texts[:imported].count("WATCHDOG=1") >= 4
    assert "STATUS=importing existing folders: 64 of 5,000" in texts
    assert len(completed(workspace)) == 5_001


@pytest.mark.rclone
def test_an_import_that_is_killed_goes_on_where_it_was(workspace: Workspace) -> None:
    existing_folders(workspace.output, 200)
    workspace.put("0018/0018_s1_all_raw.smc", Tiny("0018", "s1_all"))
    (workspace.root / "work" / "MANIFEST.csv").write_text("of an earlier tool\n")
    with Instance(workspace, hooks=[{"point": "folders imported", "nth": 2, "do": "kill"}]) as run:
        assert run.wait() == -signal.SIGKILL
    kept = completed(workspace)
    assert len(kept) == 128
    for name in kept:  # reading one of these again would fail
        marker = workspace.folder(name) / MARKER
        marker.unlink()
        marker.mkdir()
    with Instance(workspace) as run:
        assert run.wait() == 0, run.output
    assert len(completed(workspace)) == 201 and "not a regular file" not in workspace.log()
    assert sorted(path.name for path in (workspace.root / "work").glob("MANIFEST.csv*")) == [
        *("MANIFEST.csv", "MANIFEST.csv.earlier"),
    ]


class LateRemote:
    """A remote whose network comes after so many seconds."""

    def __init__(self, after: float) -> None:
        self.after, self.start = after, anyio.current_time()

    async def check(self) -> None:
        if anyio.current_time() < self.start + self.after:
            raise Fault(Cause.NETWORK, "no route to host")

    async def list_files(self, *_: object) -> RemoteListing:
        await self.check()
        return RemoteListing()


def test_a_network_that_comes_after_ten_minutes_is_waited_for_under_the_watchdog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[float, bytes]] = []

    class Listener:
        def send(self, message: bytes) -> None:
            sent.append((anyio.current_time(), message))

        def close(self) -> None:
            return

    monkeypatch.setattr(systemd, "_connect", lambda address: Listener())
    monkeypatch.setenv("NOTIFY_SOCKET", "@virtual")
    monkeypatch.setenv("WATCHDOG_USEC", "120000000")
    settings = Settings.model_validate(
        {
            "google_drive": {"remote_name": "lab", "structure": "single"},
            "extraction": {"subjects": ["0018"]},
            "storage": {"output_dir": str(tmp_path)},
        },
        context={"folder": tmp_path},
    )

    async def wait_for_network(_: VirtualLoop) -> None:
        async with service_heartbeat():
            remote: Any = LateRemote(600.0)
            while not sent or sent[-1][0] < 600.0:
                with suppress(Fault):  # what a late network ends is another rule's matter
                    await list_patiently(settings, [remote], RetryPolicy())

    run_virtually(wait_for_network, lambda: None)
    moments = [moment for moment, message in sent if message == b"WATCHDOG=1"]
    assert sent[0][1] == b"READY=1" and moments[-1] >= 600.0
    assert max(later - earlier for earlier, later in pairwise(moments)) <= 60.0


@pytest.mark.slow
@pytest.mark.rclone
@pytest.mark.parametrize("command", ["status", "doctor"])
def test_a_command_names_the_disk_that_does_not_answer(workspace: Workspace, library: Path, command: str) -> None:
    workspace.put("0018/0018_e0_raw.smc", Tiny("0018", "e0"))
    assert workspace.run() == 0
    gate = workspace.root / "gate"
    gate.touch()
    environment = disk_environment(library, workspace.root / "work", gate=gate, process=f"rm360_async {command}")
    arguments = [sys.executable, "-m", "rm360_async", command, str(workspace.root / "config.yaml")]
    ended = subprocess.run(
        arguments, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=300
    )
    assert ended.returncode in (ExitCode.SOME_FAILED, ExitCode.CANNOT_CONTINUE)
    assert f"cannot read {workspace.root / 'work'}: its disk did not answer within 5 s" in (ended.stdout + ended.stderr)
