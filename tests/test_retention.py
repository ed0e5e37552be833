"""What is kept, and how much of it: failed downloads, logs; and `rm360 clean`, which removes what may go."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from instance import Instance, barrier_at, wait_until_reached
from tiny_smc import Tiny
from workspace import Workspace

from rm360_async.system import log as log_module
from rm360_async.system.log import old_logs

DAY = 86_400.0


def age(path: Path, days: float) -> Path:
    """Make a file look as if it was last written so many days ago."""
    os.utime(path, (time.time() - days * DAY,) * 2)
    return path


def test_only_old_files_of_logs_are_old_logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["extraction_20260101_000000.log", "extraction_20260101_000000.log.1", "extraction_20260201_000000.log"]
    others = ["notes.log", "extraction_20260101_000000.log.gz", "extraction_2026.log"]
    for name in (*names, *others):
        (tmp_path / name).write_text("")
        age(tmp_path / name, 100)
    age(tmp_path / names[2], 80)
    (tmp_path / "extraction_20260101_000001.log").mkdir()
    age(tmp_path / "extraction_20260101_000001.log", 100)
    assert [path.name for path in old_logs(tmp_path, 90)] == names[:2]
    monkeypatch.setattr(log_module, "MAX_LOG_FILES", 1)
    (tmp_path / "extraction_20260301_000000.log").write_text("the latest")
    assert [path.name for path in old_logs(tmp_path, 90)] == names, "only the latest is kept"
    assert old_logs(tmp_path, 0) == [] and old_logs(tmp_path / "absent", 90) == []


def test_a_run_keeps_logs_and_failed_downloads_as_long_as_the_config_says(workspace: Workspace) -> None:
    for number in range(3):
        workspace.put(f"0018/0018_e{number}_raw.smc", b"<html>" + bytes(600_000))
    workspace.put("0018/0018_e3_raw.smc", Tiny(part="e3", filler=100_000))
    logs = workspace.root / "work/logs"
    logs.mkdir(parents=True)
    old = logs / "extraction_20200101_000000.log"
    old.write_text("old")
    age(old, 91)
    limits: dict[str, Any] = {"storage__keep_failed_gb": 1.5e6 / 2**30}
    limits["processing__delete_smc_after_extraction"] = False
    assert workspace.run("--performance", "e0", **limits) == 1
    assert workspace.run(**limits) == 1
    kept = sorted(path.name[:7] for path in (workspace.temp / "kept").iterdir())
    assert kept == ["0018_e1", "0018_e2", "0018_e3"], "the oldest failed one is gone, the user's own stays"
    assert "storage.keep_failed_gb is reached: 0018_e0_raw" in workspace.log()
    assert not old.exists()
    old.write_text("old")
    age(old, 1000)
    assert workspace.run(**limits, logging__keep_days=0) == 1
    assert old.exists()


@pytest.fixture
def cluttered(workspace: Workspace) -> Workspace:
    """Return a workspace with everything that may go, and beside each something that may not."""
    workspace.put("0018/0018_e0_raw.smc", Tiny(part="e0"))
    workspace.put("0018/0018_e1_raw.smc", b"<html>")
    assert workspace.run() == 1
    for name in GOES:
        if name.startswith("subjects"):
            (workspace.root / "work" / name / "images").mkdir(parents=True)
            (workspace.root / "work" / name / "images/half.jpg").write_bytes(b"half")
        elif not name.startswith("temp/kept"):
            (workspace.root / "work" / name).write_bytes(bytes(100_000))
    for name in STAYS:
        path = workspace.root / "work" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"stays")
    for path in (workspace.root / "work").rglob("*"):
        if "staging" in str(path):
            age(path, 0 if "fresh" in str(path) else 1)
        elif path.name.startswith("extraction_2020"):
            age(path, 1000)
    return workspace


FAILED = "temp/kept/0018_e1_raw.{}.smc"
GOES = [
    FAILED,
    "temp/0018_e0_raw.0123abcd.smc.part",
    "temp/0099_s1_all_raw.0123abcd.smc.part",
    "temp/0099_s2_all_raw.0123abcd.smc.sparse",
    "temp/0099_s2_all_raw.0123abcd.smc.sparse.map",
    "subjects/0018/.e0.0123abcd.staging",
    "logs/extraction_20200101_000000.log",
    "logs/extraction_20200101_000000.log.1",
]
STAYS = [
    "temp/notes.smc",
    "temp/kept/notes.smc",
    "temp/0018_e1_raw.0123abcd.smc.part",
    "subjects/0018/.e0.kept/notes.txt",
    "subjects/0018/.e1.fresh.staging/images/half.jpg",
    "logs/notes.log",
]
"""Files that rm360 did not write, what belongs to an unfinished performance, and what an extraction may be writing."""


def files_in(workspace: Workspace) -> set[str]:
    """Return the files of a workspace that `clean` might be about, the fingerprints of failed ones left out."""
    work = workspace.root / "work"
    paths = [str(path.relative_to(work)) for path in work.rglob("*") if path.is_file() or "staging" in path.name]
    return {re.sub(r"(kept/0018_e1_raw\.)\w+", r"\1{}", path) for path in paths}


def clean(workspace: Workspace, *arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    command = [sys.executable, "-m", "rm360_async", "clean", str(workspace.root / "config.yaml"), *arguments]
    return subprocess.run(command, input=answer, capture_output=True, text=True)


def test_clean_shows_asks_and_removes_what_is_not_needed(cluttered: Workspace) -> None:
    before = files_in(cluttered)
    assert set(GOES) | set(STAYS) <= before
    done = clean(cluttered)
    assert done.returncode == 2 and "use --yes" in done.stderr and files_in(cluttered) == before
    for name in GOES:
        assert name.split("{")[0] in done.stdout
    assert (
        f"in all {len(GOES)}, " in done.stdout
        and "unfinished downloads that this config does not need: 4" in done.stdout
    )
    assert f"not removed: your files in {cluttered.output}/0018/.e0.kept" in done.stdout
    done = clean(cluttered, answer="n\n")
    assert done.returncode == 0 and "nothing was removed" in done.stdout and files_in(cluttered) == before
    done = clean(cluttered, answer="yes\n")
    assert done.returncode == 0 and f"removed {len(GOES)}, " in done.stdout, done.stderr
    assert before - files_in(cluttered) >= set(GOES) and set(STAYS) <= files_in(cluttered)
    assert (cluttered.folder("0018/e0") / "images").is_dir()
    done = clean(cluttered, "--yes")
    assert done.returncode == 0 and "nothing to remove" in done.stdout


def test_two_at_once_remove_everything_and_do_no_harm(cluttered: Workspace) -> None:
    with ThreadPoolExecutor(2) as threads:
        both = list(threads.map(lambda _: clean(cluttered, "--yes"), range(2)))
    assert [done.returncode for done in both] == [0, 0], [done.stderr for done in both]
    left = files_in(cluttered)
    assert not set(GOES) & left and set(STAYS) <= left


def test_clean_leaves_what_a_run_uses_and_what_the_user_keeps(workspace: Workspace) -> None:
    workspace.put("0018/0018_e0_raw.smc", Tiny(part="e0"))
    workspace.put("0018/0018_e1_raw.smc", Tiny(part="e1"))
    keeps: dict[str, Any] = {"processing__delete_smc_after_extraction": False}
    assert workspace.run("--performance", "e0", **keeps) == 0
    barrier, hook = barrier_at(workspace, "go", "part downloaded")
    with Instance(workspace, hooks=[hook], **keeps) as run:
        wait_until_reached(barrier)
        workspace.subjects = ["0099"]
        workspace.config(**keeps)
        for folder in ("e0", "e1"):
            (workspace.output / f"0018/.{folder}.0123abcd.staging").mkdir(parents=True, exist_ok=True)
            age(workspace.output / f"0018/.{folder}.0123abcd.staging", 1)
        done = clean(workspace, "--yes")
        assert done.returncode == 0 and "removed 1, " in done.stdout, done.stdout + done.stderr
        assert [path.name[:7] for path in workspace.temp.glob("*.sparse")] == ["0018_e1"], "its lease is alive"
        assert (workspace.output / "0018/.e1.0123abcd.staging").exists(), "its performance is claimed"
        assert [path.name[:7] for path in (workspace.temp / "kept").iterdir()] == ["0018_e0"]
        barrier.touch()
        assert run.wait() == 0


def test_clean_without_a_ledger_or_folders(workspace: Workspace) -> None:
    workspace.config()
    done = clean(workspace, "--yes")
    assert done.returncode == 0 and done.stdout == "nothing to remove\n"
    assert not (workspace.root / "work").exists()
    assert clean(workspace, "--help").returncode == 0
