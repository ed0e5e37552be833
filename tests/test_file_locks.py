"""What a process uses is not removed by another one; what a killed process left is."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from instance import ROOT, barrier_at, wait_until_reached
from tiny_smc import Tiny
from workspace import Workspace

from rm360_async.budget import Budget
from rm360_async.config import Settings
from rm360_async.domain.names import Performance
from rm360_async.pipeline.job import Job
from rm360_async.stages.cleanup import cleanup
from rm360_async.store.marker import MARKER
from rm360_async.store.replacement import remove_staging
from rm360_async.store.staging import StagingLock
from rm360_async.system.file_locks import locked_if_unused
from rm360_async.system.files import discard, remove_temporary_files, replacement_of, write_all

HOLDER = """
import sys, time
from pathlib import Path
from rm360_async.store.staging import StagingLock
from rm360_async.system.files import replacement_of
folder = Path(sys.argv[1])
with StagingLock(folder / "0018" / ".s1_all.a.staging"), replacement_of(folder / "MANIFEST.csv"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_what_another_process_uses_stays_until_it_is_killed(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        staging, final = tmp_path / "0018" / ".s1_all.a.staging", tmp_path / "0018" / "s1_all"
        remove_staging(staging, final)
        remove_temporary_files(tmp_path / "MANIFEST.csv")
        assert staging.is_dir() and len(list(tmp_path.glob(".MANIFEST.csv.*.new"))) == 1
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    remove_staging(staging, final)
    remove_temporary_files(tmp_path / "MANIFEST.csv")
    assert not staging.exists() and list(tmp_path.glob(".MANIFEST.csv*")) == []


def test_two_locks_of_one_staging_folder_are_both_waited_for(tmp_path: Path) -> None:
    """The service has it locked, and so has the child process that fills it."""
    staging = tmp_path / "0018" / ".e0.a.staging"
    with StagingLock(staging) as first:
        with StagingLock(staging):
            first.release()
            with locked_if_unused(staging) as is_unused:
                assert not is_unused
        with locked_if_unused(staging) as is_unused:
            assert is_unused


def test_a_subject_folder_that_others_remove_all_the_time_is_made_again(tmp_path: Path) -> None:
    subject, ended = tmp_path / "0018", threading.Event()

    def remove_it() -> None:
        while not ended.is_set():
            try:
                subject.rmdir()
            except OSError:
                continue

    remover = threading.Thread(target=remove_it)
    remover.start()
    try:
        for number in range(300):
            staging = subject / f".e0.{number}.staging"
            with StagingLock(staging):
                assert staging.is_dir()
            staging.rmdir()
    finally:
        ended.set()
        remover.join()


def test_a_removal_that_fails_is_logged_and_hides_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        discard(Path("/proc/self/status"))
        discard(tmp_path / "gone")
    assert len(caplog.records) == 1 and "cannot remove /proc/self/status" in caplog.text
    with pytest.raises(ValueError, match="the first cause"), replacement_of(tmp_path / "a") as temporary:
        temporary.path.unlink()
        temporary.path.mkdir()
        (temporary.path / "b").mkdir()
        raise ValueError("the first cause")
    assert list(tmp_path.iterdir()) == []


def test_a_replacement_is_not_visible_before_it_is_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with replacement_of(tmp_path / "a", durable=False) as temporary:
        write_all(temporary.descriptor, b"new")
        assert (tmp_path / "a").read_bytes() == b"old"
    assert (tmp_path / "a").read_bytes() == b"new" and list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_a_run_that_starts_leaves_a_running_extract_alone(workspace: Workspace) -> None:
    """Into the same output_dir, a performance of which the run knows nothing."""
    workspace.put("0018/0018_e0_raw.smc", Tiny("0018", "e0"))
    source = Tiny("0026", "e1").write(workspace.root / "0026_e1_raw.smc")
    barrier, hook = barrier_at(workspace, "sealing", "sealing")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "tests" / "hook"),
        "RM360_FAULT_HOOKS": json.dumps([hook]),
    }
    target = workspace.folder("0026/e1")
    command = [sys.executable, "-m", "rm360_async", "extract", str(source), "--output", str(target)]
    extract = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE)
    try:
        wait_until_reached(barrier)
        assert workspace.run() == 0
        barrier.touch()
        errors = extract.communicate(timeout=60)[1]
    finally:
        extract.kill()
    assert extract.returncode == 0, errors.decode()
    assert (target / MARKER).is_file() and "interrupted extraction" not in workspace.log()


@pytest.mark.anyio
async def test_a_part_that_another_run_has_a_lease_for_stays(tmp_path: Path) -> None:
    """Two runs with ledgers of their own may share a temp_dir; one has published what the other is downloading."""
    settings = Settings.model_validate(
        {
            "google_drive": {"remote_name": "lab", "structure": "single"},
            "extraction": {"subjects": ["0018"]},
            "storage": {"output_dir": str(tmp_path / "out"), "temp_dir": str(tmp_path / "temp")},
        },
        context={"folder": tmp_path},
    )
    part = tmp_path / "temp" / "0018_e0_raw.0123abcd.smc.part"
    part.parent.mkdir()
    part.write_bytes(b"half of it")
    other = Budget(part.parent, tmp_path / "elsewhere", 2**20, 0, min_free_files=0)
    async with await other.lease("0018/e0", 100, spool_paths=[part]):
        await cleanup(Job(Performance("0018", "e0")), settings, published=True)
        assert part.exists()
    await cleanup(Job(Performance("0018", "e0")), settings, published=True)
    assert not part.exists()
