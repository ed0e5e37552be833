"""`rm360 ls`: what the remote has, and what is there instead if nothing is where the config looks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_smc import Tiny
from workspace import Workspace

from rm360_async.cli.main import main

pytestmark = pytest.mark.rclone


@pytest.fixture
def filled(workspace: Workspace) -> Workspace:
    """Return a workspace with two subjects on its remote, of which 0018/e0 is published."""
    for subject, names in (("0018", ("e0", "s1_all")), ("0019", ("e0",))):
        for name in names:
            workspace.put(f"{subject}/{subject}_{name}_raw.smc", Tiny(subject, name))
    assert workspace.run("--performance", "e0") == 0
    return workspace


def rows(text: str) -> list[list[str]]:
    """Return the words of each line."""
    return [line.split() for line in text.splitlines()]


def test_subjects_performances_and_files_with_their_sizes_and_status(
    filled: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    capsys.readouterr()
    size = sum(path.stat().st_size for path in (filled.remote / "0018").iterdir())
    assert filled.command("ls") == 0
    text, errors = capsys.readouterr()
    found = {row[0]: row for row in rows(text)}
    assert errors == "" and max(map(len, text.splitlines())) <= 40
    assert found["0018"] == ["0018", "2", f"{size / 1024:.3g}", "KB", "1"]
    assert found["0019"][1] == "1" and found["0019"][-1] == "0" and found["all"][:3] == ["all", "2", "3"]

    assert filled.command("ls", "0018") == 0
    found = {row[0]: row for row in rows(capsys.readouterr().out)}
    assert found["0018/e0"][-2:] == ["60", "completed"] and found["0018/s1_all"][-2:] == ["1", "-"]

    assert filled.command("ls", "0018/e0") == 0
    file = filled.remote / "0018/0018_e0_raw.smc"
    assert f"({file.stat().st_size} bytes)" in capsys.readouterr().out

    monkeypatch.chdir(filled.root)
    assert main(["ls", "0018-0030/s*", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert list(value["performances"]) == ["0018/s1_all"] and value["performances"]["0018/s1_all"]["status"] is None
    assert value["performances"]["0018/s1_all"]["files"][0]["path"] == "0018/0018_s1_all_raw.smc"


def test_a_name_that_is_not_there_is_answered_with_the_nearest(
    filled: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    for target, said in (
        ("0020", "no subject here matches 0020; nearest: 0019, 0018"),
        ("0018/s2_all", "no performance here matches s2_all; nearest: s1_all"),
        ("0040-0050", "no subject here matches 0040-0050; nearest: 0019, 0018"),
    ):
        assert filled.command("ls", target) == 1
        assert said in capsys.readouterr().err
    assert filled.command("ls", "18") == 2
    assert 'did you mean "0018"?' in capsys.readouterr().err


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_folder_above_the_release_is_answered_with_where_it_is(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], depth: int
) -> None:
    path = "/".join(["data", "RenderMe-360_500", "release"][:depth])
    workspace.put(f"{path}/0018/0018_e0_raw.smc", Tiny("0018", "e0"))
    workspace.subjects = ["0018"]
    workspace.config()
    advice = f'{path}/ holds 0018/: set google_drive.remote_name: "lab:{path}" and structure: single'
    assert workspace.command("ls") == 1
    assert advice in capsys.readouterr().err
    assert workspace.command("run", "--dry-run") == 1
    text = capsys.readouterr().out
    assert advice in text and not text.startswith("performance ")
    assert workspace.run() == 1 and advice in workspace.log()
    workspace.config(google_drive__remote_name=f"lab:{path}")
    assert workspace.command("ls") == 0


def test_the_other_layout_is_named(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    workspace.put("raw/0026/0026_e0_raw.smc", Tiny("0026", "e0"))
    workspace.put("anno/0026/0026_e0_anno.smc", Tiny("0026", "e0", anno=True))
    workspace.config()
    assert workspace.command("ls") == 1
    assert "raw/ and anno/ with a folder for each subject: set google_drive.structure: separate_anno_raw" in (
        capsys.readouterr().err
    )
    workspace.structure = "separate_anno_raw"
    workspace.config()
    assert workspace.command("ls", "0026/e0") == 0
    text = capsys.readouterr().out
    assert "raw/0026/0026_e0_raw.smc" in text and "anno/0026/0026_e0_anno.smc" in text


def test_a_config_is_needed_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", str(tmp_path / "absent.yaml")]) == 2
    assert main(["ls", str(tmp_path / "a.yaml"), "0018", "e0"]) == 2
    assert "too many arguments" in capsys.readouterr().err
