"""A run of this version goes on where rm360 0.2.0 stopped: published folders, spooled files, the ledger."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from drive_server import DriveServer
from earlier_version import PART_BYTES, change, unpack
from instance import Instance
from workspace import Workspace, tree

MARKER = ".extraction_complete"


def inodes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_ino for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def upgraded(drive_server: DriveServer) -> DriveServer:
    """Give the workspace of 0.2.0 with its remote behind the Drive emulator; the quota of e3 lasts for an hour."""
    ledger = unpack(drive_server.workspace.root)
    change(ledger, "UPDATE performance SET wait_until = ? WHERE name = 'e3'", time.time() + 3600)
    return drive_server


def test_a_run_goes_on_where_0_2_0_stopped(upgraded: DriveServer) -> None:
    workspace = upgraded.workspace
    e0, e1, e4 = (inodes(workspace.folder(f"0018/{name}")) for name in ("e0", "e1", "e4"))
    before = tree(workspace.folder("0018/e0"))
    assert upgraded.run("--no-wait") == 1
    assert upgraded.statuses() == {
        **{"e0": "completed", "e1": "completed", "e2": "failed", "e3": "waiting", "e4": "completed"},
        **{"e5": "completed", "e6": "completed", "e7": "completed", "e8": "download_failed"},
    }
    # A complete folder is left alone; one that lacks cameras is completed with the files that it had.
    assert inodes(workspace.folder("0018/e0")) == e0 and tree(workspace.folder("0018/e0")) == before
    completed = inodes(workspace.folder("0018/e1"))
    image = "images/cam_25/frame_000000.jpg"
    assert completed[image] == e1[image] and completed[MARKER] != e1[MARKER]
    assert "images/cam_31/frame_000001.jpg" in completed and "calibration/cameras.json" in completed
    # A forced one is replaced.
    assert not set(inodes(workspace.folder("0018/e4")).values()) & set(e4.values())
    # Spooled bytes are not downloaded again; what failed or waits is not asked for.
    assert [request.start for request in upgraded.downloads_of("e5")] == [PART_BYTES]
    assert upgraded.downloads_of("e6") == [] and len(upgraded.downloads_of("e7")) == 1
    assert upgraded.downloads_of("e0") == [] and upgraded.downloads_of("e2") == [] and upgraded.downloads_of("e3") == []
    assert workspace.leftovers() == [workspace.temp / "kept" / next((workspace.temp / "kept").iterdir()).name]
    assert workspace.log().count("migrated the ledger") == 1
    assert workspace.command("verify", "--deep") == 0


def test_a_kill_while_a_part_of_0_2_0_is_taken_over_costs_no_byte(upgraded: DriveServer) -> None:
    kill = {"point": "prefix adopted", "do": "kill"}
    with Instance(upgraded.workspace, "--no-wait", config=upgraded.config(), hooks=[kill]) as run:
        assert run.wait() == -signal.SIGKILL
    assert upgraded.workspace.present_bytes("e5") == PART_BYTES
    assert upgraded.run("--no-wait") == 1
    assert upgraded.statuses()["e5"] == "completed"
    assert [request.start for request in upgraded.downloads_of("e5")] == [PART_BYTES]


def test_the_next_run_finds_nothing_to_do_but_what_waits(upgraded: DriveServer) -> None:
    assert upgraded.run("--no-wait") == 1
    before = {name: inodes(upgraded.workspace.folder(f"0018/{name}")) for name in ("e0", "e1", "e4", "e5", "e6", "e7")}
    change(
        upgraded.workspace.root / "work" / "MANIFEST.sqlite", "UPDATE performance SET wait_until = 1 WHERE name = 'e3'"
    )
    change(upgraded.workspace.root / "work" / "MANIFEST.sqlite", "DELETE FROM quota")
    requests = len(upgraded.drive.media())
    assert upgraded.run() == 1
    assert upgraded.statuses()["e3"] == "completed"
    proof = 1  # that the account serves ranges
    assert len(upgraded.drive.media()) == requests + 1 + proof and len(upgraded.downloads_of("e3")) == 1
    assert {name: inodes(upgraded.workspace.folder(f"0018/{name}")) for name in before} == before
    assert upgraded.workspace.log().count("migrated the ledger") == 1


def test_a_damaged_folder_of_0_2_0_is_noticed(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    unpack(workspace.root)
    workspace.config()
    image = workspace.folder("0018/e0") / "images" / "cam_31" / "frame_000001.jpg"
    data = image.read_bytes()
    image.chmod(0o644)
    image.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    assert workspace.command("verify") == 0
    assert workspace.command("verify", "--deep") == 1
    assert "0018/e0" in capsys.readouterr().out
