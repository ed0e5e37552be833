"""Slips in the rclone config, options of a remote that hide files, and a remote that holds something else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from drive_emulator import folder_id
from drive_server import DriveServer
from workspace import Workspace

from rm360_async.domain.errors import Answer, Fault
from rm360_async.download.rclone import Remote, find_rclone, rclone_environment
from rm360_async.download.rclone.remote_config import locate_entry

DRIVE = "[gdrive]\ntype = drive\nscope = drive.readonly\n"
TOKEN = 'token = {"access_token":"x","refresh_token":"y","expiry":"2099-01-01T00:00:00Z"}\n'
FILES = {
    "client.json": '{"installed": {"client_id": "x"}}',
    "cut.json": '{"type": "service_account", ',
    "page": "<html>",
}


# --- slips in the config


@pytest.mark.rclone
@pytest.mark.anyio
@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (f"{DRIVE}service_account_file = /nowhere/sa.json\n", ("service_account_file", "/nowhere/sa.json", "line 4")),
        (f"{DRIVE}service_account_file = FOLDER/client.json\n", ("service_account_file", "line 4")),
        (f"{DRIVE}service_account_file = FOLDER/cut.json\n", ("service_account_file", "line 4")),
        (f"{DRIVE}service_account_file = FOLDER/page\n", ("service_account_file", "line 4")),
        (f'{DRIVE}token = {{"access_token":"ya29.x\n', ("the token of the remote cannot be read", "line 4")),
        (f"{DRIVE}token = {{}}\n", ("token", "expired", "rclone config reconnect gdrive:")),
        (DRIVE, ("empty token", "rclone config reconnect gdrive:", "line 1")),
        ("\n[other]\ntype = local\n\n[gdrive]\ntype = gdrive\n", ("does not know the type", "line 6")),
        ("[GDrive]\ntype = drive\n", ("no remote of this name", "there is GDrive:")),
        (f"[gdrive]\r\ntype drive\r\n{TOKEN}", ("cannot read its config file", "could not parse", "line 2")),
        ("[gdrive\ntype = drive\n", ("cannot read its config file", "line 1")),
        (f"{DRIVE}{TOKEN}chunk_size = huge\n", ("chunk_size", "line 5")),
        (f"{DRIVE}{TOKEN}chunk_size = 300k\n", ("power of two",)),
        ("[gdrive]\ntype = alias\nremote = gone:\n", ("no remote of this name", "line 3")),
        ("[gdrive]\ntype = alias\nremote = gdrive:\n", ("at itself", "line 3")),
        ("[gdrive]\ntype = crypt\nremote = /tmp\n", ("password not set", "line 1")),
        ("", ("no remote of this name",)),
        (None, ("there is no FOLDER/rclone.conf",)),
    ],
)
async def test_a_slip_in_the_rclone_config_stops_at_once_and_is_located(
    tmp_path: Path, config: str | None, expected: tuple[str, ...]
) -> None:
    path = tmp_path / "rclone.conf"
    if config is not None:
        path.write_bytes(config.replace("FOLDER", str(tmp_path)).encode())
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    env = {**os.environ, "RCLONE_CONFIG": str(path), "HTTPS_PROXY": "http://127.0.0.1:9"}
    with pytest.raises(Fault) as caught:
        await Remote("gdrive", "", find_rclone(), rclone_environment(env)).check()
    assert caught.value.cause.answer is Answer.STOP
    for text in expected:
        assert text.replace("FOLDER", str(tmp_path)) in str(caught.value)


def test_a_variable_that_is_meant_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rclone.conf"
    env = {"RCLONE_CONFIG_GDRIVE_TYPE": "gdrive", "RCLONE_CONFIG_GDRIVE_TOKEN": "secret"}
    location = locate_entry(path, env, "gdrive", "rclone does not know the type of this remote")
    assert location == "see the variable RCLONE_CONFIG_GDRIVE_TYPE"
    assert "secret" not in locate_entry(path, env, "gdrive", "the token of the remote cannot be read")
    assert locate_entry(path, env, "gdrive", "other") == "see the variables RCLONE_CONFIG_GDRIVE_..."


# --- options that hide files


@pytest.mark.parametrize("option", ["shared_with_me", "starred_only", "trashed_only", "auth_owner_only"])
def test_options_of_the_remote_that_hide_files_have_no_effect(drive_server: DriveServer, option: str) -> None:
    drive_server.put("s1_all", folder="release")
    config = drive_server.drive.config
    config.write_text(config.read_text().replace("type = drive\n", f"type = drive\n{option} = true\n"))
    folder = folder_id(Path("release"))
    path = drive_server.config()
    path.write_text(path.read_text().replace("ROOT-FOLDER", folder))
    assert drive_server.workspace.command("run") == 0
    assert drive_server.statuses() == {"s1_all": "completed"}


@pytest.mark.parametrize("shared_drive", ["0Alab", "missing"])
def test_a_shared_drive_that_hides_the_release_is_named(
    drive_server: DriveServer, capsys: pytest.CaptureFixture[str], shared_drive: str
) -> None:
    drive_server.put("s1_all")
    config = drive_server.drive.config
    config.write_text(config.read_text().replace("type = drive\n", f"type = drive\nteam_drive = {shared_drive}\n"))
    assert drive_server.run() == (3 if shared_drive == "missing" else 1)
    remark = next(line for line in drive_server.workspace.log().splitlines() if "team_drive" in line)
    assert f"line 3 of {config}" in remark and shared_drive not in remark
    capsys.readouterr()
    drive_server.workspace.command("doctor")
    assert "team_drive" in capsys.readouterr().out


def test_an_option_in_the_name_of_the_remote_is_named(drive_server: DriveServer) -> None:
    drive_server.put("s1_all")
    assert drive_server.run(remote="gdrive,starred_only=true:") == 1
    log = drive_server.workspace.log()
    assert "gdrive has the option starred_only" in log and "it is in google_drive.remote_name" in log


# --- another folder than was meant


def test_a_root_above_the_release_is_told_with_the_id(drive_server: DriveServer) -> None:
    drive_server.put("s1_all", folder="RenderMe-360_500")
    (drive_server.workspace.remote / "papers").mkdir()
    assert drive_server.run(extraction__subjects="all") == 1
    log = drive_server.workspace.log()
    assert "gdrive holds RenderMe-360_500/, papers/" in log
    folder = folder_id(Path("RenderMe-360_500"))
    assert f'RenderMe-360_500/ holds 0018/: set google_drive.root_folder_id: "{folder}" and structure: single' in log


def test_a_local_root_above_the_release_is_told(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    (workspace.remote / "release" / "raw" / "0018").mkdir(parents=True)
    assert workspace.run("--dry-run", extraction__subjects="all", extraction__performances=["s1_all"]) == 1
    expected = 'release/ holds raw/: set google_drive.remote_name: "lab:release" and structure: separate_anno_raw'
    assert expected in capsys.readouterr().out


@pytest.mark.parametrize(
    ("folders", "structure", "expected"),
    [
        (("raw/0018", "anno/0018"), "single", "set google_drive.structure: separate_anno_raw"),
        (("0018", "0019"), "separate_anno_raw", "set google_drive.structure: single"),
        ((), "single", "lab holds no folder at all"),
    ],
)
def test_another_layout_than_the_set_one_is_told(
    workspace: Workspace, folders: tuple[str, ...], structure: str, expected: str
) -> None:
    for folder in folders:
        (workspace.remote / folder).mkdir(parents=True)
    workspace.structure = structure
    assert workspace.run(extraction__subjects=["0018"]) == 1
    assert expected in workspace.log()
