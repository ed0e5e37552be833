"""`inspect` and `cameras analyze` of a file on a remote."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import h5py
import pytest
from drive_emulator import ROOT_ID, Rule
from drive_server import DriveServer
from test_run_ranges import WIDE
from tiny_smc import Tiny
from workspace import Workspace

from rm360_async.cli.main import main

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


def test_a_performance_of_a_config_is_inspected_on_its_remote(
    drive_server: DriveServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder's id is in the config alone, so a path from the root of the remote leads to nothing."""
    drive_server.put("e0")
    config = drive_server.config(extraction__subjects=["0099"])
    assert main(["inspect", str(drive_server.file("e0")), "--json"]) == 0
    here = json.loads(capsys.readouterr().out)
    for arguments in ([str(config), "0018/e0"], ["--config", str(config), "0018/e0"], ["0018/e0"]):
        monkeypatch.chdir(config.parent)
        assert main(["inspect", *arguments, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {**here, "path": "gdrive:0018/0018_e0_raw.smc"}
    assert main(["inspect", str(config), "0018/e9"]) == 3
    assert "gdrive has no file of 0018/e9; it has e0 of 0018" in capsys.readouterr().err
    assert main(["inspect", str(config), "18/e0"]) == 2
    assert main(["inspect", "gdrive:release/0018/0018_e0_raw.smc"]) == 3
    assert "rm360 inspect CONFIG SUBJECT/PERFORMANCE" in capsys.readouterr().err


def test_both_files_of_a_pair_are_inspected(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    workspace.structure = "separate_anno_raw"
    for kind in ("raw", "anno"):
        workspace.put(f"{kind}/0026/0026_e0_{kind}.smc", Tiny("0026", "e0"))
    workspace.config()
    assert workspace.command("inspect", "0026/e0", "--json") == 0
    paths = [each["path"] for each in json.loads(capsys.readouterr().out)]
    assert paths == ["lab:raw/0026/0026_e0_raw.smc", "lab:anno/0026/0026_e0_anno.smc"]


@pytest.mark.parametrize("groups", [[], ["Camera_5mp", "Camera_12mp"], ["Camera"]])
def test_a_file_of_another_dataset_is_named_with_what_it_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], groups: list[str]
) -> None:
    path = tmp_path / "0012_11_main.smc"
    with h5py.File(path, "w") as file:
        for group in groups:
            file.create_group(group)
    assert main(["inspect", str(path)]) == 1
    printed = capsys.readouterr().out
    assert "this is not a RenderMe-360 file" in printed
    assert "other groups Camera_12mp Camera_5mp" in printed or len(groups) < 2
    assert main(["inspect", str(path), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["other_groups"] == sorted(set(groups) - {"Camera"})


def test_a_file_of_one_of_two_folders_is_read_by_the_id_of_its_folder(
    drive_server: DriveServer, capsys: pytest.CaptureFixture[str]
) -> None:
    drive_server.put("e0")
    (drive_server.workspace.remote / "0018~2").mkdir()
    assert main(["inspect", str(drive_server.config()), "0018/e0"]) == 0
    assert "gdrive:0018/0018_e0_raw.smc" in capsys.readouterr().out
