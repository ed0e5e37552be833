"""Published folders that lack what is wanted by now: only that is fetched, nothing is given up, nothing mixed."""

from __future__ import annotations

import errno
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from drive_emulator import Rule
from drive_server import DriveServer
from instance import Instance, command_lines, wait_until
from test_run_ranges import RANGES, WIDE, content, marker
from tiny_smc import Tiny
from workspace import Workspace

from rm360_async.store import marker as marker_module


def test_what_is_wanted_later_is_added_and_nothing_fetched_twice(drive_server: DriveServer) -> None:
    part = replace(WIDE, part="e0")
    drive_server.workspace.put("0018/0018_e0_raw.smc", part)
    assert drive_server.run(extraction__cameras=["25"], extraction__modalities=["images", "metadata"], **RANGES) == 0
    folder = drive_server.workspace.folder("0018/e0")
    old = os.stat(folder / "images/cam_25/frame_000003.jpg").st_ino
    before = sum(request.sent for request in drive_server.downloads_of("e0"))
    wanted: dict[str, Any] = {
        "extraction__cameras": ["25", "31"],
        "extraction__modalities": ["images", "metadata", "audio"],
    }
    assert drive_server.run(**wanted, **RANGES) == 0
    added = sum(request.sent for request in drive_server.downloads_of("e0")) - before
    assert os.stat(folder / "images/cam_25/frame_000003.jpg").st_ino == old
    assert added < 12 * 200_000 * 1.15 + 400_000
    assert marker(drive_server.workspace, "0018/e0")["wanted_cameras"] == ["25", "31"]
    found = content(folder)
    assert drive_server.run("--force", **wanted, **RANGES) == 0
    assert content(folder) == found
    assert drive_server.workspace.command("verify", "--deep") == 0


def test_audio_stays_as_it_was_in_a_folder_that_is_completed(workspace: Workspace) -> None:
    """Two of its files have the same name but for the suffix."""
    workspace.put("0018/0018_e0_raw.smc", Tiny(part="e0"))
    assert workspace.run(extraction__cameras=["25"]) == 0
    before = content(workspace.folder("0018/e0") / "audio")
    assert workspace.run(**RANGES) == 0
    assert workspace.manifest()["0018/e0"]["cameras_extracted"] == "2"
    assert sorted(before) == ["audio.mp3", "audio.wav", "audio_data.npz"]
    assert content(workspace.folder("0018/e0") / "audio") == before


def test_a_small_folder_too_is_completed_by_ranges(drive_server: DriveServer) -> None:
    drive_server.workspace.put("0018/0018_e0_raw.smc", replace(WIDE, part="e0"))
    assert drive_server.run(extraction__cameras=["25"]) == 0
    assert marker(drive_server.workspace, "0018/e0")["fetched"] == "whole"
    before = sum(request.sent for request in drive_server.downloads_of("e0"))
    assert drive_server.run() == 0
    added = sum(request.sent for request in drive_server.downloads_of("e0")) - before
    assert added < 12 * 200_000 * 1.15 + 400_000 and "would cost more" not in drive_server.workspace.log()
    assert drive_server.workspace.manifest()["0018/e0"]["cameras_extracted"] == "2"


def test_the_same_or_a_smaller_selection_does_nothing(drive_server: DriveServer) -> None:
    drive_server.workspace.put("0018/0018_e0_raw.smc", replace(WIDE, part="e0"))
    assert drive_server.run() == 0
    asked = len(drive_server.downloads_of("e0"))
    assert drive_server.run(extraction__cameras=["25"], extraction__modalities=["images"]) == 0
    assert drive_server.run() == 0
    assert len(drive_server.downloads_of("e0")) == asked


def test_a_marker_that_cannot_be_read_is_told_when_more_is_wanted(
    drive_server: DriveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive_server.workspace.put("0018/0018_e0_raw.smc", replace(WIDE, part="e0"))
    assert drive_server.run(extraction__modalities=["images"]) == 0
    folder, asked = drive_server.workspace.folder("0018/e0"), len(drive_server.downloads_of("e0"))

    def refused(folder: Path) -> None:  # root may read everything, so no mode refuses
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as unreadable:
        unreadable.setattr(marker_module, "read_marker", refused)
        assert drive_server.run() == 1
    message = f"0018/e0 cannot be compared with the selection: cannot read {folder}: Input/output error"
    assert message in drive_server.workspace.log()
    assert len(drive_server.downloads_of("e0")) == asked and (folder / "images").is_dir(), "and is left as it is"
    assert drive_server.run() == 0
    assert len(marker(drive_server.workspace, "0018/e0")["wanted_modalities"]) == 11, (
        "it is compared again until it can be"
    )


def test_a_run_that_was_killed_before_it_completed_a_folder_goes_on(drive_server: DriveServer) -> None:
    drive_server.workspace.put("0018/0018_e0_raw.smc", replace(WIDE, part="e0"))
    assert drive_server.run(extraction__modalities=["images"]) == 0
    drive_server.drive.rules.append(Rule("downloadQuotaExceeded", op="media"))
    assert drive_server.run("--no-wait") == 1
    assert marker(drive_server.workspace, "0018/e0")["wanted_modalities"] == ["images"], (
        "the old folder stands meanwhile"
    )
    drive_server.drive.rules.clear()
    (drive_server.workspace.root / "work" / "MANIFEST.sqlite").unlink()
    assert drive_server.run() == 0
    assert len(marker(drive_server.workspace, "0018/e0")["wanted_modalities"]) == 11


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (["images"], ["masks", "keypoints2d", "flame"]),
        (["masks", "flame", "calibration", "keypoints2d"], ["images"]),
        (["images", "masks"], ["audio"]),
    ],
)
def test_what_came_from_the_other_file_of_a_pair_stays(workspace: Workspace, first: list[str], then: list[str]) -> None:
    workspace.structure, workspace.subjects = "separate_anno_raw", ["0026"]
    part = Tiny("0026", "s1_all", cameras=("00", "25", "31"), masks=True)
    workspace.put("raw/0026/0026_s1_all_raw.smc", replace(part, masks=False))
    workspace.put("anno/0026/0026_s1_all_anno.smc", replace(part, images=False, audio=False, anno=True))
    assert workspace.run(extraction__modalities=first) == 0
    assert workspace.run(extraction__modalities=then) == 0
    found = content(workspace.folder("0026/s1_all"))
    assert workspace.command("verify", "--deep") == 0
    assert workspace.run("--force", extraction__modalities=[*first, *then]) == 0
    assert content(workspace.folder("0026/s1_all")) == found and workspace.leftovers() == []


@pytest.mark.parametrize("more", [["31"], "ring:1"])
def test_a_folder_of_a_file_that_has_changed_since_is_extracted_anew(workspace: Workspace, more: Any) -> None:
    path = workspace.put("0018/0018_e0_raw.smc", replace(WIDE, part="e0", filler=20_000))
    assert workspace.run(extraction__cameras=["25", "31"], extraction__modalities=["images"]) == 0
    changed = replace(WIDE, part="e0", filler=30_000)
    changed.write(path)
    assert workspace.run(extraction__cameras=more) == 0
    for camera in ("25", "31"):
        image = workspace.folder("0018/e0") / f"images/cam_{camera}/frame_000003.jpg"
        assert image.read_bytes() == changed.image(camera, 3)
    assert "nothing of its folder is reused" in workspace.log() and workspace.leftovers() == []


@pytest.mark.parametrize("point", ["folder renamed", "published"])
def test_killed_after_the_exchange_it_is_complete_and_the_old_folder_swept(workspace: Workspace, point: str) -> None:
    workspace.put("0018/0018_e0_raw.smc", replace(WIDE, part="e0", filler=20_000))
    assert workspace.run(extraction__cameras=["25"]) == 0
    with Instance(workspace, hooks=[{"do": "kill", "point": point}], **RANGES) as run:
        assert run.wait() == -signal.SIGKILL
    wait_until(lambda: not command_lines(workspace), "all children gone")
    assert workspace.run(**RANGES) == 0
    row = workspace.manifest()["0018/e0"]
    assert (row["status"], row["cameras_extracted"]) == ("completed", "2")
    assert workspace.leftovers() == [] and workspace.command("verify", "--deep") == 0


def test_files_of_a_person_stay_when_folders_are_completed_forced_and_repaired(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.put("0018/0018_e0_raw.smc", Tiny(part="e0"))
    assert workspace.run(extraction__modalities=["images"]) == 0
    folder = workspace.folder("0018/e0")
    (folder / "notes.txt").write_text("mine")
    (folder / "audio").write_text("mine too")
    assert workspace.run("--dry-run") == 0
    assert "0018/e0 holds files that rm360 did not write" in capsys.readouterr().out
    assert workspace.run() == 0
    kept = folder.with_name(".e0.kept")
    assert (kept / "audio").read_text() == "mine too" and (folder / "audio/audio.wav").exists()
    log = workspace.log()
    announced = "0018/e0 holds files that rm360 did not write, and keeps them when it is replaced: audio, notes.txt"
    assert log.index(announced) < log.rindex("published 0018/e0")
    assert f"kept        1 of your files in {kept}" in log[log.index("EXTRACTION SUMMARY") :]
    assert workspace.run("--force") == 0
    assert (folder / "notes.txt").read_text() == "mine"
    (folder / "images/cam_25/frame_000001.jpg").unlink()
    assert workspace.command("verify", "--repair") == 1 and workspace.run() == 0
    assert (folder / "notes.txt").read_text() == "mine" and (kept / "audio").read_text() == "mine too"
    assert sorted(path.name for path in folder.parent.iterdir()) == [".e0.kept", "e0"]
