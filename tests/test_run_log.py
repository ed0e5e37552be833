"""The log of a run: what a bug report needs, at each level; and the same as JSON lines on standard output."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from drive_server import DriveServer
from rich.console import Console
from test_run_resume import Killed
from tiny_smc import Tiny
from workspace import Workspace

from rm360_async import __version__


def put(workspace: Workspace) -> None:
    workspace.put("0018/0018_e0_raw.smc", Tiny(part="e0"))
    workspace.put("0018/0018_e1_raw.smc", b"no HDF5 at all")


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_the_log_begins_with_what_a_bug_report_needs(workspace: Workspace) -> None:
    put(workspace)
    workspace.run("--cameras", "25", processing__max_retries=1, notify__command=["true", "https://secret.example"])
    lines = [line[26:] for line in workspace.log().splitlines()[:4]]
    assert lines[0].startswith(f"rm360_async {__version__}, Python {platform.python_version()}, Linux")
    assert f"host {os.uname().nodename}, pid {os.getpid()}" in lines[0]
    assert re.match(r"rclone 1\.\d+\.\d+ \(/.*\), remotes lab", lines[1])
    assert lines[2].startswith(f"config {workspace.root / 'config.yaml'}: google_drive.remote_name=lab ")
    assert f"storage.output_dir={workspace.output}" in lines[2] and "processing.max_retries=1" in lines[2]
    assert "retry_delay=0.01" in lines[2] and "max_file_size_mb" not in lines[2], "what differs from the defaults"
    assert lines[3].startswith("selection: subjects 0018, performances all, cameras 25, modalities metadata ")
    assert "secret.example" not in workspace.log()


def test_starts_and_resumes_are_in_the_log(drive_server: DriveServer) -> None:
    killed = Killed(drive_server)
    killed.end_in_the_middle(signal.SIGKILL)
    killed.finish()
    lines = [line for line in drive_server.workspace.log().splitlines() if "0018/e0: downloading" in line]
    assert len(lines) == 2 and lines[0].endswith("downloading 11.5 MB")
    assert re.search(r"downloading 11\.5 MB, resuming after [\d.]+ [KM]B$", lines[1])


def test_debug_has_commands_and_decisions_and_info_has_not(workspace: Workspace) -> None:
    put(workspace)
    assert workspace.run("-v") == 1
    text = workspace.log()
    assert re.search(r"DEBUG process \d+ started: /.*rclone.* lsjson ", text), "the command that lists the remote"
    assert re.search(r"DEBUG 0018/e0: found pending, is pending", text)
    assert re.search(r"DEBUG 0018/e1: failed, counts as a try: ", text)
    assert [word for word in ("downloading", "extracting", "publishing") if f"DEBUG 0018/e0 {word}" in text] == [
        "downloading",
        "extracting",
        "publishing",
    ]
    assert re.search(r"DEBUG requesting bytes 0 to \d+ of 0018/0018_e0_raw.smc", text)
    workspace.run()
    assert "DEBUG" not in workspace.log().removeprefix(text)


def test_quiet_shows_warnings_alone_and_the_file_has_everything(
    workspace: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    put(workspace)
    assert workspace.run("--quiet", logging__console_output=True) == 1
    shown = capfd.readouterr()
    assert shown.out == "" and shown.err
    assert all(" ERROR " in line or " WARNING " in line for line in shown.err.splitlines())
    assert "INFO  EXTRACTION SUMMARY" in workspace.log()


def test_json_prints_a_line_for_each_event(workspace: Workspace, capfd: pytest.CaptureFixture[str]) -> None:
    put(workspace)
    assert workspace.run("--json", logging__console_output=True) == 1
    shown = capfd.readouterr()
    lines = json_lines(shown.out)
    steps = [each["status"] for each in lines if each["event"] == "performance" and each["performance"] == "0018/e0"]
    assert steps == ["downloading", "downloaded", "extracting", "publishing", "completed"]
    (failed,) = [each for each in lines if each["event"] == "performance" and each["status"] == "failed"]
    assert failed["performance"] == "0018/e1" and failed["reason"] and failed["cause"]
    assert any(each["event"] == "log" and each["message"] == "EXTRACTION SUMMARY" for each in lines)
    assert any(each["event"] == "progress" and each["planned"] == 2 for each in lines)
    assert lines[-1]["event"] == "summary" and lines[-1]["exit_code"] == 1
    assert (lines[-1]["completed"], lines[-1]["failed"]) == (1, 1)
    assert all(isinstance(each["at"], float) for each in lines)
    assert "EXTRACTION SUMMARY" in shown.err and '"event"' not in shown.err
    assert '"event"' not in workspace.log()


def test_a_reader_of_json_that_goes_away_harms_nothing(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    put(workspace)
    with Path("/dev/full").open("w") as full, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", full)
        assert workspace.run("--json") == 1
        with suppress(OSError):  # what is left in its buffer
            full.close()
    assert workspace.status_of("0018/e0") == "completed"


def test_the_file_has_the_progress_although_a_terminal_shows_bars(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(workspace)
    monkeypatch.setattr(Console, "is_terminal", True)
    monkeypatch.setenv("TERM", "xterm")
    assert workspace.run(logging__console_output=True) == 1
    assert re.search(r"INFO  0 of 2 completed", workspace.log())
