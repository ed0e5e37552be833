"""`inspect` and `cameras analyze` of a file on a remote."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from drive_emulator import ROOT_ID, Rule
from drive_server import DriveServer
from test_run_ranges import WIDE

from rm360_async.cli import main

TARGET = f"gdrive,root_folder_id={ROOT_ID}:0018/0018_e0_raw.smc"


def test_a_remote_file_is_inspected_and_analyzed_for_a_part_of_it(
    drive_server: DriveServer, capsys: pytest.CaptureFixture[str]
) -> None:
    path = drive_server.workspace.put("0018/0018_e0_raw.smc", replace(WIDE, part="e0"))
    assert main(["inspect", str(path), "--json"]) == 0
    here = json.loads(capsys.readouterr().out)
    target = f"gdrive,root_folder_id={ROOT_ID}:0018/0018_e0_raw.smc"
    assert main(["inspect", target, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {**here, "path": target}
    assert main(["cameras", "analyze", target, "--json"]) in (0, 1)
    assert len(json.loads(capsys.readouterr().out)["checks"]) > 3
    assert sum(request.sent for request in drive_server.downloads_of("e0")) < path.stat().st_size / 2


def test_a_target_on_a_remote_that_is_no_file_is_told(
    drive_server: DriveServer, capsys: pytest.CaptureFixture[str]
) -> None:
    drive_server.put("e0")
    assert main(["inspect", f"gdrive,root_folder_id={ROOT_ID}:0018/0018_e9_raw.smc"]) == 3
    assert "is not on" in capsys.readouterr().err
    assert main(["inspect", "gdrive:0018/"]) == 2
    assert "give the path of one .smc file" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["userRateLimitExceeded", "backendError", "reset"])
def test_a_passing_fault_while_a_file_is_inspected_is_no_matter(drive_server: DriveServer, kind: str) -> None:
    drive_server.workspace.put("0018/0018_e0_raw.smc", replace(WIDE, part="e0"))
    drive_server.drive.rules.append(Rule(kind, op="media", times=1, skip=2))
    assert main(["inspect", TARGET]) == 0


@pytest.mark.parametrize(
    ("kind", "words"), [("downloadQuotaExceeded", "quota"), ("backendError", "503"), ("userRateLimitExceeded", "limit")]
)
def test_a_lasting_one_is_told_in_one_line(
    drive_server: DriveServer, capsys: pytest.CaptureFixture[str], kind: str, words: str
) -> None:
    drive_server.workspace.put("0018/0018_e0_raw.smc", replace(WIDE, part="e0"))
    drive_server.drive.rules.append(Rule(kind, op="media"))
    assert main(["inspect", TARGET]) == 3
    said = capsys.readouterr().err
    assert words in said.lower() and len(said.splitlines()) == 1
