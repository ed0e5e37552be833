"""`rm360 init` with a real rclone, and the example configs on a synthetic remote."""

from __future__ import annotations

import io
import json
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml
from drive_emulator import folder_id
from drive_server import DriveServer
from tiny_smc import Tiny
from workspace import Workspace

from rm360_async.cli.main import main
from rm360_async.commands.init.disks import mount_points, writable_disks
from rm360_async.commands.init.new_config import limits_for
from rm360_async.config import load_settings
from rm360_async.config.settings import GB
from rm360_async.config.template import example_names, example_values, filled_template, template_text
from rm360_async.domain.names import Structure

MANY = ("01", "03", "05", "09", "10", "16", "20", "25", "26", "31", "33", "40", "41", "44", "45", "50", "54", "57")


@pytest.fixture
def release(workspace: Workspace) -> Workspace:
    """Return a workspace whose remote has a small 500-subject release in a folder."""
    for subject in ("0018", "0026", "0100"):
        for name, cameras in (("s1_all", ("25",)), ("s3_all", MANY), ("e0", MANY)):
            tiny = Tiny(subject, name, cameras=("00", *cameras), frames=2, filler=0, audio=name[0] == "s")
            workspace.put(f"data/{subject}/{subject}_{name}_raw.smc", tiny)
    (workspace.remote / "papers").mkdir()
    return workspace


def answer(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """Give the lines to the questions of the next command."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


def contents(path: Path) -> dict[str, dict[str, Any]]:
    """Return what a config sets."""
    value = yaml.safe_load(path.read_text())
    return {section: keys for section, keys in value.items() if keys}


# --- the dialogue


@pytest.mark.rclone
def test_the_questions_lead_to_a_config_that_runs(
    release: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config, output = release.root / "lab.yaml", release.root / "out" / "subjects"
    answer(monkeypatch, "1", str(output))  # one subject, to try it
    assert main(["init", str(config)]) == 0
    text, questions = capsys.readouterr()
    assert "lab holds no release; looking into its folders" in questions
    assert "lab:data: 3 subjects, the layout of the 500-subject release" in questions
    assert "audio: The sound of all subjects." in questions and "Disks that you may write to:" in questions
    assert f"rm360 run {config} --dry-run" in text
    values = contents(config)
    assert values["google_drive"] == {"remote_name": "lab:data", "structure": "single"}
    assert values["extraction"] == {"subjects": ["0018"]} and values["storage"] == {"output_dir": str(output)}
    assert "# retry_delay: 30" in config.read_text() and "(*) the rclone remote" in config.read_text()
    assert main(["run", str(config), "--performance", "s1_all", "--modalities", "audio"]) == 0
    assert (output / "0018/s1_all/audio/audio.wav").is_file()


@pytest.mark.rclone
def test_a_drive_folder_is_opened_by_its_link_or_found_by_its_id(
    drive_server: DriveServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    drive_server.put("s1_all", folder="RenderMe-360_500")
    (drive_server.workspace.remote / "papers").mkdir()
    wanted, root = folder_id(Path("RenderMe-360_500")), drive_server.workspace.root
    output = ["--output-dir", str(root / "out")]

    assert main(["init", str(root / "found.yaml"), "--yes", "--remote", "gdrive", *output]) == 0
    assert contents(root / "found.yaml")["google_drive"]["root_folder_id"] == wanted
    answer(monkeypatch, f"https://drive.google.com/drive/folders/{wanted}?usp=sharing")
    arguments = ["--remote", "gdrive:", *output, "--example", "audio"]
    assert main(["init", str(root / "asked.yaml"), *arguments]) == 0
    values = contents(root / "asked.yaml")
    assert values["google_drive"] == {"remote_name": "gdrive", "structure": "single", "root_folder_id": wanted}
    assert values["extraction"]["modalities"] == ["metadata", "audio"]
    capsys.readouterr()
    assert main(["ls", str(root / "asked.yaml"), "0018"]) == 0
    assert "0018/s1_all" in capsys.readouterr().out
    assert main(["init", str(root / "x.yaml"), "--yes", "--remote", "gdrive", "--folder", "not an id", *output]) == 2
    assert "--folder: " in capsys.readouterr().err


@pytest.mark.rclone
def test_without_questions_what_is_undecided_is_said_and_nothing_is_written(
    release: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    config = release.root / "lab.yaml"
    for subject in ("raw/0026", "anno/0026"):
        (release.remote / "pairs" / subject).mkdir(parents=True)
    arguments = ["init", str(config), "--yes", "--output-dir", str(release.root / "out")]
    assert main(arguments) == 2
    assert "several are possible for the dataset's folder: data/, pairs/; choose one with --remote" in (
        capsys.readouterr().err
    )
    assert main([*arguments, "--remote", "lab:papers"]) == 2
    assert "lab:papers holds no folder" in capsys.readouterr().err
    assert main([*arguments, "--remote", "lab:data", "--cameras", "rign:3"]) == 2
    assert "did you mean ring:10?" in capsys.readouterr().err
    assert main([*arguments, "--remote", "nowhere"]) == 3
    assert "lab:" in capsys.readouterr().err, "the remotes that there are"
    assert main([*arguments, "--remote", "lab:data", "--example", "audi"]) == 2
    assert "there are audio, frontal" in capsys.readouterr().err
    assert not config.exists()

    options = ["--subject", "0018-0040", "--performance", "s*", "--cameras", "ring:10 -49", "--modalities", "images"]
    assert main([*arguments, "--remote", "lab:data", *options]) == 0
    assert contents(config)["extraction"] == {
        "subjects": "0018-0040",
        "performances": "s*",
        "cameras": "ring:10 -49",
        "modalities": "images",
    }
    assert main([*arguments, "--remote", "lab:data"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main([*arguments, "--remote", "lab:pairs", "--force"]) == 0
    values = contents(config)
    assert values["google_drive"]["structure"] == "separate_anno_raw" and values["extraction"]["subjects"] == ["0026"]


@pytest.mark.rclone
def test_without_a_remote_the_command_that_makes_one_is_named(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    (workspace.root / "rclone.conf").write_text("")
    assert main(["init", str(workspace.root / "lab.yaml"), "--yes"]) == 2
    assert "rclone has no remote yet: make one with `/" in capsys.readouterr().err


# --- disks


def test_disks_have_their_free_space_and_the_home_is_among_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    disks = writable_disks()
    assert tmp_path in [disk.folder for disk in disks]
    assert [disk.bytes for disk in disks] == sorted((disk.bytes for disk in disks), reverse=True)


def test_only_disks_for_data_are_proposed() -> None:
    mounts = """proc /proc proc rw 0 0
tmpfs /run tmpfs rw 0 0
/dev/sda1 / ext4 rw,relatime 0 0
/dev/sda2 /boot ext4 rw 0 0
nas:/vol /data\\040lab nfs4 rw,vers=4.2 0 0
/dev/sdb /mnt/cd xfs ro 0 0
/dev/loop0 /snap/x squashfs ro 0 0
gdrive: /mnt/drive fuse.rclone rw 0 0
scratch /scratch beegfs_nodev rw 0 0
"""
    assert mount_points(mounts) == [Path("/"), Path("/data lab"), Path("/scratch")]


def test_limits_fit_on_the_disk() -> None:
    assert limits_for(5000 * GB) == {}
    assert limits_for(100 * GB) == {"max_temp_size_gb": 25, "min_free_space_gb": 5}
    assert limits_for(0) == {"max_temp_size_gb": 1, "min_free_space_gb": 0}


# --- the template and the examples


def test_a_filled_template_differs_in_the_given_lines_alone() -> None:
    filled = filled_template({"google_drive": {"remote_name": "a b", "structure": "single"}, "limits": {}})
    changed = [line for line in filled.splitlines() if line not in template_text().splitlines()]
    assert len(changed) == 2 and len(filled.splitlines()) == len(template_text().splitlines())
    assert changed[0].startswith('  remote_name: "a b"   ') and changed[1].startswith('  structure: "single"  ')


@pytest.mark.parametrize("name", example_names())
def test_an_example_is_a_whole_config(name: str, tmp_path: Path) -> None:

    text = (resources.files("rm360_async") / "examples" / f"{name}.yaml").read_text()
    (tmp_path / "config.yaml").write_text(text)
    settings = load_settings(tmp_path / "config.yaml")
    is_pair = name == "release21"
    assert settings.google_drive.structure is (Structure.PAIR if is_pair else Structure.SINGLE)
    assert example_names()[name].endswith(".") and len(example_names()[name]) < 60


def images(folder: Path) -> dict[str, int]:
    """Return how many cameras each published folder has images of."""
    folders = sorted(marker.parent for marker in folder.glob("*/*/.extraction_complete"))
    return {str(each.relative_to(folder)): len(list(each.glob("images/cam_*"))) for each in folders}


EXPECTED = {
    "audio": {f"{subject}/{name}": 0 for subject in ("0018", "0026", "0100") for name in ("s1_all", "s3_all")},
    "frontal": {f"{subject}/{name}": 1 for subject in ("0018", "0026", "0100") for name in ("e0", "s1_all", "s3_all")},
    "ten-cameras": {f"{subject}/{name}": 10 for subject in ("0018", "0026", "0100") for name in ("e0", "s3_all")},
    "ten-subjects": {
        f"{subject}/{name}": cameras
        for subject in ("0018", "0026")
        for name, cameras in (("e0", len(MANY)), ("s1_all", 1), ("s3_all", len(MANY)))
    },
}


@pytest.mark.rclone
@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_brings_what_it_says(name: str, release: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    config, output = release.root / "lab.yaml", release.root / "out"
    options = ["--remote", "lab:data", "--output-dir", str(output / "subjects")]
    assert main(["init", str(config), "--yes", "--example", name, *options]) == 0
    assert main(["run", str(config)]) == 0
    assert images(output / "subjects") == EXPECTED[name]
    marker = json.loads((output / "subjects/0018/s3_all/.extraction_complete").read_text())
    if name == "ten-cameras":
        assert marker["wanted_cameras"] == "cover:10" and len(marker["resolved_cameras"]) == 10
    if name in ("audio", "frontal"):
        assert (output / "subjects/0026/s1_all/audio/audio.wav").is_file()


@pytest.mark.rclone
def test_the_example_of_the_21_subjects_takes_both_files(workspace: Workspace) -> None:
    workspace.put("raw/0026/0026_e0_raw.smc", Tiny("0026", "e0", calibration=False, audio=False))
    workspace.put("anno/0026/0026_e0_anno.smc", Tiny("0026", "e0", anno=True, images=False, audio=False))
    config, output = workspace.root / "lab.yaml", workspace.root / "out" / "subjects"
    assert main(["init", str(config), "--yes", "--example", "release21", "--output-dir", str(output)]) == 0
    assert example_values("release21")["limits"] == {"max_temp_size_gb": 200}
    assert main(["run", str(config)]) == 0
    assert (output / "0026/e0/calibration/all_cameras.npy").is_file() and images(output) == {"0026/e0": 2}
