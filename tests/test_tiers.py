"""The tiers: the stand-in for rclone in quick tests, and the markers that fixtures give."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiers import RcloneGuard, is_quick

from rm360_async.download.rclone import find_rclone

TESTS = Path(__file__).parent
A_TEST_THAT_STARTS_RCLONE = """
import subprocess
def test_it(): subprocess.run(["sh", "-c", "rclone listremotes"])
"""


def test_the_guard_notes_each_call_once(tmp_path: Path) -> None:
    guard = RcloneGuard(tmp_path)
    path = os.environ["PATH"]
    with guard.first_on_path():
        assert subprocess.run(["rclone", "lsf", "gdrive:"]).returncode == 97
    assert os.environ["PATH"] == path
    assert guard.calls() == ["rclone lsf gdrive:"]
    assert guard.calls() == []


def test_a_quick_test_finds_the_stand_in() -> None:
    assert Path(find_rclone()).parent.name.startswith("rm360-no-rclone-")


def test_a_quick_test_that_starts_rclone_fails(tmp_path: Path) -> None:
    file = tmp_path / "test_it.py"
    file.write_text(A_TEST_THAT_STARTS_RCLONE)
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "-c", os.devnull, str(file)]
    result = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(TESTS)}, capture_output=True, text=True)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "a quick test started rclone; mark it with pytest.mark.rclone: rclone listremotes" in result.stdout


def test_every_test_of_whole_runs_is_marked(request: pytest.FixtureRequest) -> None:
    assert is_quick(request.node)
    users = [item for item in request.session.items if "workspace" in getattr(item, "fixturenames", ())]
    assert not [item.nodeid for item in users if is_quick(item)]
