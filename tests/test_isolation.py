"""What the caller's folder and environment hold has no part in the program and its children."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from instance import ROOT, Instance, barrier_at, command_lines, wait_until_reached
from test_run_crash import assert_settled, fill, worker_of
from workspace import Workspace

from rm360_async.domain.errors import Cause
from rm360_async.system.worker_environment import worker_environment
from rm360_async.system.workers import WorkerEnd, not_started

FOREIGN = ("numpy", "random", "inspect", "signal", "types", "json", "h5py", "sitecustomize_of_nobody", "queue", "click")


def foreign_folder(path: Path) -> Path:
    """Make a folder with scripts that have the names of modules, each of which leaves a trace when it runs."""
    path.mkdir()
    for name in FOREIGN:
        (path / f"{name}.py").write_text(f"open({str(path / 'was-run')!r}, 'a').write('{name} ')\n")
    return path


@pytest.mark.rclone
@pytest.mark.parametrize("way", ["script in the folder", "module in the folder", "PYTHONPATH"])
def test_own_modules_of_the_caller_are_not_run(workspace: Workspace, tmp_path: Path, way: str) -> None:
    fill(workspace, 1)
    config, folder = workspace.config(), foreign_folder(tmp_path / "foreign")
    script = [str(Path(sys.executable).parent / "rm360")]
    # with -m, Python itself imports what it needs to start from the current folder, before this program has a say
    command = [sys.executable, "-m", "rm360_async"] if way != "script in the folder" else script
    started = {"PYTHONSTARTUP": str(folder / "json.py")}
    environment = {**os.environ, **started, **({"PYTHONPATH": str(folder)} if way == "PYTHONPATH" else {})}
    if way == "module in the folder":
        for name in ("inspect", "signal", "types", "json"):
            (folder / f"{name}.py").unlink()
    where = ROOT if way == "PYTHONPATH" else folder
    if way == "PYTHONPATH":  # Python's own start (site, runpy) precedes the program there as well
        for name in ("inspect", "types"):
            (folder / f"{name}.py").unlink()
    ended = subprocess.run([*command, "run", str(config)], cwd=where, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert not (folder / "was-run").exists(), (folder / "was-run").read_text()
    assert_settled(workspace, ["0018/e0"])


def test_workers_get_a_short_list_of_variables() -> None:
    secrets = {"RCLONE_CONFIG_PASS": "x", "AWS_SECRET_ACCESS_KEY": "x", "BW_SESSION": "x", "HOME": "/root"}
    python = {"PYTHONPATH": "/x", "PYTHONSTARTUP": "/x", "PYTHONHOME": "/x", "NOTIFY_SOCKET": "/x"}
    needed = {"PATH": "/bin", "TMPDIR": "/tmp", "LC_ALL": "C", "TZ": "UTC", "LD_LIBRARY_PATH": "/lib"}
    passed = worker_environment({**secrets, **python, **needed})
    assert needed.items() <= passed.items() and not (secrets.keys() | python.keys()) & passed.keys()


def test_no_secret_reaches_a_worker(workspace: Workspace) -> None:
    fill(workspace, 1)
    barrier, hook = barrier_at(workspace, "barrier", "sealing", side="worker")
    with Instance(workspace, hooks=[hook], environment={"BW_SESSION": "secret-of-the-vault"}) as run:
        wait_until_reached(barrier)
        assert b"secret-of-the-vault" not in Path(f"/proc/{worker_of(workspace)}/environ").read_bytes()
        assert any(b"secret-of-the-vault" in Path(f"/proc/{pid}/environ").read_bytes() for pid in [run.process.pid]), (
            "the service has it, for rclone"
        )
        barrier.touch()
        assert run.wait() == 0
    assert command_lines(workspace) == []


def test_what_only_pythonpath_has_is_still_found_last(tmp_path: Path) -> None:
    """A module system of a cluster offers libraries by PYTHONPATH; what is installed comes first all the same."""
    foreign = foreign_folder(tmp_path / "foreign")
    code = (
        "import json, sys; from rm360_async.system import import_path as module;"
        "module._LIBRARIES = (*module._LIBRARIES, 'sitecustomize_of_nobody');"
        "print(json.dumps(module.import_path()))"
    )
    for name in ("json", "types", "signal"):
        (foreign / f"{name}.py").unlink()
    environment = {**os.environ, "PYTHONPATH": str(foreign)}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    path = eval(ended.stdout)
    assert str(foreign) in path[1:] and str(tmp_path) not in path and "" not in path
    assert path.index(str(foreign)) > max(index for index, entry in enumerate(path) if entry.startswith(sys.prefix))


def test_a_folder_of_pythonpath_that_keeps_workers_from_beginning_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that dies of a module which only PYTHONPATH has says so in the last lines of its errors."""
    (tmp_path / "broken_extension.py").write_text("raise ImportError('built for another Python')\n")
    monkeypatch.setenv("PYTHONPATH", f"/somewhere/else{os.pathsep}{tmp_path}")
    died = subprocess.run([sys.executable, "-c", "import broken_extension"], capture_output=True, text=True)
    fault = not_started(WorkerEnd(died.returncode, died.stderr))
    assert fault.cause is Cause.NOT_STARTED and "built for another Python" in fault.message
    assert f"PYTHONPATH names {tmp_path}" in fault.message and "unset PYTHONPATH" in fault.hint
    monkeypatch.delenv("PYTHONPATH")
    assert "PYTHONPATH" not in str(not_started(WorkerEnd(died.returncode, died.stderr)))
