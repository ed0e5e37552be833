"""What a listing leaves out, and what must not spoil it: links, unreadable folders, several folders of one name."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from drive_emulator import ROOT_ID, Rule
from drive_server import DriveServer
from tiny_smc import Tiny
from workspace import Workspace

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Structure
from rm360_async.download.rclone import Remote, find_rclone, rclone_environment
from rm360_async.download.rclone.lister import entry_messages
from rm360_async.download.rclone.listing import may_hold
from rm360_async.system.processes import ProcessResult

EVERY_FETCH = pytest.mark.parametrize("fetch", ["whole", "ranges"])
EVERY_SELECTION = pytest.mark.parametrize("subjects", [["0018"], "all"], ids=["named", "all"])


def put(workspace: Workspace, *performances: str) -> None:
    """Put tiny performances, e.g. `0018/s1_all`, on the remote."""
    for performance in performances:
        subject, name = performance.split("/")
        workspace.put(f"{subject}/{subject}_{name}_raw.smc", Tiny(subject, name))


# --- symbolic links of a local remote


@pytest.mark.parametrize("subjects", [["0018", "0019"], "all"], ids=["named", "all"])
def test_links_of_a_local_remote_are_followed(workspace: Workspace, subjects: object) -> None:
    put(workspace, "0018/s1_all", "0018/s2_all", "0019/s1_all")
    disk = workspace.root / "second disk"
    disk.mkdir()
    for path in ("0019", "0018/0018_s2_all_raw.smc"):
        shutil.move(workspace.remote / path, disk)
        (workspace.remote / path).symlink_to(disk / Path(path).name)
    (workspace.remote / "0018" / "circle").symlink_to(workspace.remote)
    assert workspace.run(extraction__subjects=subjects) == 0
    assert {row["status"] for row in workspace.manifest().values()} == {"completed"}
    assert set(workspace.manifest()) == {"0018/s1_all", "0018/s2_all", "0019/s1_all"}


def test_doctor_says_that_links_are_followed(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    put(workspace, "0018/s1_all")
    workspace.config()
    workspace.command("doctor")
    assert "symbolic links are followed" in capsys.readouterr().out


def test_a_broken_link_costs_only_what_it_leads_to(workspace: Workspace) -> None:
    put(workspace, "0018/s1_all")
    (workspace.remote / "0019").symlink_to(workspace.root / "unmounted")
    (workspace.remote / "0018" / "0018_s2_all_raw.smc").symlink_to(workspace.root / "unmounted" / "file")
    code = workspace.run(extraction__subjects=["0018", "0019"], extraction__performances=["s1_all", "s2_all"])
    assert code == 1
    assert workspace.status_of("0018/s1_all") == "completed"
    row = workspace.manifest()["0018/s2_all"]
    assert row["status"] == "download_failed" and "0018/0018_s2_all_raw.smc: " in row["error"]
    assert "no such file or directory" in row["error"]
    assert "the remote does not list" in workspace.log()


def test_a_broken_link_that_is_not_selected_spoils_nothing(workspace: Workspace) -> None:
    put(workspace, "0018/s1_all")
    (workspace.remote / "archive").mkdir()
    (workspace.remote / "archive" / "old.smc").symlink_to(workspace.root / "unmounted")
    (workspace.remote / "unmounted disk").symlink_to(workspace.root / "unmounted")
    assert workspace.run(extraction__subjects="all") == 0
    assert workspace.status_of("0018/s1_all") == "completed"
    assert "the remote does not list" not in workspace.log()


# --- folders that may not be read


@pytest.fixture
def without_capabilities(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let rclone run without the capabilities of root, which may read every folder."""
    commands = workspace.root / "bin"
    commands.mkdir()
    drop = "setpriv --bounding-set=-all --inh-caps=-all" if os.getuid() == 0 else ""
    (commands / "rclone").write_text(f'#!/bin/sh\nexec {drop} {find_rclone()} "$@"\n')
    (commands / "rclone").chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")


@EVERY_SELECTION
@pytest.mark.usefixtures("without_capabilities")
def test_an_unreadable_folder_that_is_not_selected_spoils_nothing(workspace: Workspace, subjects: object) -> None:
    put(workspace, "0018/s1_all")
    (workspace.remote / "lost+found").mkdir(mode=0o000)
    assert workspace.run(extraction__subjects=subjects) == 0
    assert workspace.status_of("0018/s1_all") == "completed"


@pytest.mark.usefixtures("without_capabilities")
def test_an_unreadable_folder_that_is_selected_is_named(workspace: Workspace) -> None:
    put(workspace, "0018/s1_all", "0019/s1_all")
    (workspace.remote / "0019").chmod(0o000)
    try:
        assert workspace.run(extraction__subjects="all") == 1
    finally:
        (workspace.remote / "0019").chmod(0o755)
    assert workspace.status_of("0018/s1_all") == "completed"
    remark = next(line for line in workspace.log().splitlines() if "the remote does not list" in line)
    assert "1 entry" in remark and "0019" in remark and "permission denied" in remark


# --- several folders of one path on Drive


def put_two_folders(drive: DriveServer, prefix: str = "") -> None:
    """Put s1_all into a folder 0018, and s2_all into another folder of that name."""
    drive.put("s1_all", "s2_all", folder=prefix)
    first = drive.workspace.remote / prefix / "0018"
    second = first.with_name("0018~2")
    second.mkdir()
    (first / "0018_s2_all_raw.smc").rename(second / "0018_s2_all_raw.smc")


@EVERY_FETCH
@EVERY_SELECTION
def test_the_files_of_both_folders_of_one_name_are_published(
    drive_server: DriveServer, subjects: object, fetch: str
) -> None:
    put_two_folders(drive_server)
    assert drive_server.run(extraction__subjects=subjects, processing__fetch=fetch) == 0
    assert drive_server.statuses() == {"s1_all": "completed", "s2_all": "completed"}


def test_folders_of_one_name_above_the_subjects(drive_server: DriveServer) -> None:
    workspace = drive_server.workspace
    for kind in ("raw", "anno"):
        workspace.put(f"{kind}/0026/0026_e0_{kind}.smc", Tiny("0026", "e0"))
        workspace.put(f"{kind}~2/0026/0026_e1_{kind}.smc", Tiny("0026", "e1"))
    code = drive_server.run(google_drive__structure="separate_anno_raw", extraction__subjects=["0026"])
    assert code == 0
    assert drive_server.statuses() == {"e0": "completed", "e1": "completed"}


def test_a_file_that_is_in_both_folders_is_refused(drive_server: DriveServer) -> None:
    put_two_folders(drive_server)
    remote = drive_server.workspace.remote
    shutil.copy(remote / "0018" / "0018_s1_all_raw.smc", remote / "0018~2")
    assert drive_server.run() == 1
    assert drive_server.statuses() == {"s1_all": "download_failed", "s2_all": "completed"}
    assert "is there twice" in drive_server.error_of("s1_all")


def test_a_download_from_one_of_two_folders_is_resumed(drive_server: DriveServer) -> None:
    put_two_folders(drive_server)
    drive_server.drive.rules.append(Rule("reset", path="*_s2_all_raw.smc", at=4000, times=1))
    assert drive_server.run(processing__fetch="whole") == 0
    assert [request.start for request in drive_server.downloads_of("s2_all")] == [0, 4000]


def test_folders_to_which_no_id_leads_are_reported(drive_server: DriveServer) -> None:
    put_two_folders(drive_server, prefix="release")
    drive_server.put("s1_all", subject="0019", folder="release")
    config = drive_server.drive.config
    inner = f"gdrive,root_folder_id={ROOT_ID}:release"
    config.write_text(f"{config.read_text()}\n[lab]\ntype = alias\nremote = {inner}\n")
    code = drive_server.workspace.run(
        google_drive__remote_name="lab",
        extraction__subjects=["0018", "0019"],
        extraction__performances=["s1_all"],
    )
    assert code == 1
    assert drive_server.workspace.status_of("0019/s1_all") == "completed"
    assert "several folders have this path" in drive_server.error_of("s1_all")


# --- rules


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("0018", True),
        ("0018/0018_s1_all_raw.smc", True),
        ("0018/notes.txt", False),
        ("0018/deep/0018_s1_all_raw.smc", False),
        ("0019", False),
        ("lost+found", False),
        ("lost+found/0018", False),
    ],
)
def test_which_paths_may_hold_selected_files(path: str, expected: bool) -> None:
    assert may_hold(["0018"], path) is expected
    assert may_hold(["raw/0018", "anno/0018"], f"anno/{path}") is expected
    assert may_hold(["raw/*"], "raw") and may_hold(["*"], "0777") and not may_hold(["*"], "077")


def line(level: str, message: str, path: str, kind: str = "string") -> str:
    """Return a line of rclone's JSON log."""
    return json.dumps({"level": level, "msg": message, "object": path, "objectType": kind}) + "\n"


@pytest.mark.parametrize(
    ("exit_code", "stderr", "expected"),
    [
        (0, "", 0),
        (0, line("notice", "Dangling shortcut detected", "0018", "*drive.Object"), 1),
        (6, line("error", "permission denied", "x") + "2026/11/29 13:38:01 Failed to lsjson: x", 1),
        (6, line("error", "a", "x") + "Failed to lsf with 2 errors: last error was: a", None),
        (1, "2026/11/29 13:38:01 Failed to lsjson: googleapi: Error 403", None),
        (1, "", None),
        (1, line("error", "a", "Google drive root ''", "*drive.Fs") + "Failed to lsjson: a", None),
        (0, line("error", "search result INCOMPLETE", ""), None),
    ],
)
def test_what_rclone_says_of_single_entries(exit_code: int, stderr: str, expected: int | None) -> None:
    messages = entry_messages(ProcessResult(exit_code, b"", stderr))
    assert (None if messages is None else len(messages)) == expected


@pytest.mark.anyio
async def test_an_entry_that_may_come_back_makes_the_listing_fail(
    workspace: Workspace,
) -> None:
    put(workspace, "0018/s1_all")
    script = workspace.root / "rclone"
    error = (
        '{"level":"error","msg":"failed to open directory: input/output error","object":"0018","objectType":"string"}'
    )
    script.write_text(
        f'#!/bin/sh\n[ $1 != lsjson ] && exec {find_rclone()} "$@"\n'
        f"echo '['; echo ']'; echo '{error}' >&2; echo 'Failed to lsjson: x' >&2; exit 6\n"
    )
    script.chmod(0o755)
    remote = Remote("lab", "", str(script), rclone_environment(os.environ))
    with pytest.raises(Fault, match="input/output error") as caught:
        await remote.list_files(Structure.SINGLE, ["0018"])
    assert caught.value.cause is Cause.UNKNOWN
    assert not (await remote.list_files(Structure.SINGLE, ["0019"])).passed_over
