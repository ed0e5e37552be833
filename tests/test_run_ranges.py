"""Whole runs that download ranges: the same folders for fewer bytes, and nothing is downloaded twice."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from drive_emulator import ROOT_ID, Rule
from drive_server import DriveServer
from instance import Instance, RecordingRclone, command_lines, wait_until
from tiny_smc import Tiny, end_without_closing
from workspace import Workspace, tree

from rm360_async.cli.main import main
from rm360_async.download.range_downloader import RangeDownloader
from rm360_async.download.throttle import Throttle
from rm360_async.store.marker import MARKER

WIDE = Tiny(cameras=("00", "25", "31"), frames=12, filler=200_000)
"""7 MB, most of it images of two cameras."""
RANGES: dict[str, Any] = {"processing__fetch": "ranges"}
WHOLE: dict[str, Any] = {"processing__fetch": "whole"}


def marker(workspace: Workspace, name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((workspace.folder(name) / MARKER).read_text())
    return value


def content(folder: Path) -> dict[str, bytes]:
    return {path: data for path, data in tree(folder).items() if path != MARKER}


def whole_and_by_ranges(
    workspace: Workspace, tmp_path: Path, name: str, **wanted: Any
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return the folder of a performance as downloaded whole and by ranges."""
    assert workspace.run(processing__fetch="whole", **wanted) == 0
    whole = content(workspace.folder(name))
    assert marker(workspace, name)["fetched"] == "whole"
    assert workspace.run("--force", processing__fetch="ranges", **wanted) == 0
    assert marker(workspace, name)["fetched"] == "ranges" and workspace.leftovers() == []
    return whole, content(workspace.folder(name))


def test_a_file_whose_writer_died_gives_the_same_folder_whole_and_by_ranges(
    workspace: Workspace, tmp_path: Path
) -> None:
    end_without_closing(workspace.put("0018/0018_s1_all_raw.smc", replace(WIDE, libver="latest")))
    whole, by_ranges = whole_and_by_ranges(workspace, tmp_path, "0018/s1_all", extraction__cameras=["25"])
    assert whole == by_ranges and len([path for path in whole if path.startswith("images/cam_25/")]) == WIDE.frames
    assert any("ended without closing it" in warning for warning in workspace.info("0018/s1_all")["warnings"])


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"extraction__cameras": ["25"]},
        {"extraction__cameras": "ring:1", "extraction__modalities": ["images"]},
        {"extraction__modalities": ["audio"]},
        {"extraction__modalities": ["metadata", "calibration"]},
    ],
)
def test_ranges_of_a_single_file_give_the_same_folder(
    workspace: Workspace, tmp_path: Path, wanted: dict[str, Any]
) -> None:
    workspace.put("0018/0018_s1_all_raw.smc", Tiny(part="s1_all", cameras=("00", "25", "31"), frames=9))
    whole, ranges = whole_and_by_ranges(workspace, tmp_path, "0018/s1_all", **wanted)
    assert whole and ranges == whole


@pytest.mark.parametrize("layout", ["contiguous", "chunked", "gzip", "compact"])
def test_ranges_of_a_pair_give_the_same_folder(workspace: Workspace, tmp_path: Path, layout: str) -> None:
    workspace.structure = "separate_anno_raw"
    part = Tiny("0026", "s1_all", cameras=("00", "25", "31"), layout=layout, masks=True)
    workspace.subjects = ["0026"]
    workspace.put("raw/0026/0026_s1_all_raw.smc", replace(part, masks=False))
    workspace.put("anno/0026/0026_s1_all_anno.smc", replace(part, images=False, audio=False, anno=True))
    whole, ranges = whole_and_by_ranges(workspace, tmp_path, "0026/s1_all")
    assert len(whole) > 30 and ranges == whole


def test_only_what_is_selected_crosses_the_network(drive_server: DriveServer) -> None:
    path = drive_server.workspace.put("0018/0018_e0_raw.smc", replace(WIDE, part="e0"))
    assert drive_server.run(extraction__cameras=["25"], extraction__modalities=["images", "metadata"], **RANGES) == 0
    images = sum(
        len(data) for name, data in tree(drive_server.workspace.folder("0018/e0")).items() if name.startswith("images/")
    )
    sent = sum(request.sent for request in drive_server.downloads_of("e0"))
    assert images > 2_000_000 and images < sent < images * 1.1 + 300_000 < path.stat().st_size


def test_a_wrong_guess_is_corrected_by_the_index(drive_server: DriveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rm360_async.download.ranges.estimate._SMALL_FILE_BYTES", 0)
    path = drive_server.workspace.put("0018/0018_e0_raw.smc", replace(WIDE, part="e0"))
    # two of 60 cameras by the release, two of two in this file
    assert drive_server.run(extraction__cameras=["25", "31"], extraction__modalities=["images"]) == 0
    assert (
        marker(drive_server.workspace, "0018/e0")["fetched"] == "whole"
        and "would cost more" in drive_server.workspace.log()
    )
    sent = sum(request.sent for request in drive_server.downloads_of("e0"))
    assert sent < path.stat().st_size + 300_000, "bytes that were here already were downloaded again"
    assert drive_server.workspace.leftovers() == []


def test_a_small_file_is_downloaded_whole_by_default(drive_server: DriveServer) -> None:
    drive_server.put("e0")
    assert drive_server.run(extraction__modalities=["metadata"]) == 0
    assert marker(drive_server.workspace, "0018/e0")["fetched"] == "whole"


def test_the_dry_run_shows_what_both_modes_would_cost(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    workspace.put("0018/0018_s1_all_raw.smc", replace(WIDE, part="s1_all"))
    assert workspace.run("--dry-run", extraction__modalities=["audio"], **RANGES) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("0018/s1_all"))
    assert "MB" in line and "~" in line and line.split()[-1] == "ranges"


def test_killed_while_downloading_ranges_it_requests_no_byte_twice(drive_server: DriveServer) -> None:
    drive_server.workspace.put("0018/0018_e0_raw.smc", replace(WIDE, part="e0"))
    wanted: dict[str, Any] = {"extraction__cameras": ["25"], "extraction__modalities": ["images"], **RANGES}
    drive_server.drive.rules.append(Rule("slow", op="media", bps=500_000))
    drive: dict[str, Any] = {"google_drive__remote_name": "gdrive", "google_drive__root_folder_id": ROOT_ID}

    def more_than(blocks: int) -> bool:
        return sum(path.stat().st_blocks for path in drive_server.workspace.temp.glob("*.sparse")) > blocks

    for blocks in (1000, 2000, 3000):
        with Instance(drive_server.workspace, **drive, **wanted) as run:
            wait_until(partial(more_than, blocks), "more ranges to arrive")
            run.kill()
            assert run.wait() == -signal.SIGKILL
        wait_until(lambda: not command_lines(drive_server.workspace), "all children gone")
    drive_server.drive.rules.clear()
    assert drive_server.run(**wanted) == 0
    images = sum(
        len(data) for name, data in tree(drive_server.workspace.folder("0018/e0")).items() if name.startswith("images/")
    )
    sent = sum(request.sent for request in drive_server.downloads_of("e0"))
    assert sent < images * 1.1 + 3 * 2**20, "a kill loses only the ranges that were arriving"
    assert drive_server.workspace.leftovers() == []


def test_a_quota_is_named_although_the_server_of_ranges_does_not_name_it(drive_server: DriveServer) -> None:
    drive_server.workspace.put("0018/0018_e0_raw.smc", replace(WIDE, part="e0"))
    drive_server.drive.rules.append(Rule("downloadQuotaExceeded", op="media"))
    assert drive_server.run("--no-wait", extraction__cameras=["25"], **RANGES) == 1
    assert "quota of this file" in drive_server.error_of("e0")


def test_killed_between_the_two_files_of_a_completed_pair_it_downloads_none_again(workspace: Workspace) -> None:
    workspace.structure, workspace.subjects = "separate_anno_raw", ["0026"]
    part = Tiny("0026", "e0", filler=30_000)
    workspace.put("raw/0026/0026_e0_raw.smc", replace(part, calibration=False))
    workspace.put("anno/0026/0026_e0_anno.smc", replace(part, images=False, audio=False, anno=True))
    rclone = RecordingRclone(workspace)
    for way, point in ((RANGES, "ready to extract"), (WHOLE, "part committed")):
        with Instance(workspace, hooks=[{"point": point, "do": "kill"}], **way) as run:
            assert run.wait() == -signal.SIGKILL
        wait_until(lambda: not command_lines(workspace), "all children gone")
    assert len(list(workspace.temp.glob("*.smc"))) == len(list(workspace.temp.glob("*.sparse"))) == 1
    with Instance(workspace, **WHOLE) as run:
        assert run.wait() == 0
    assert (
        rclone.downloads() == [] and workspace.leftovers() == [] and marker(workspace, "0026/e0")["fetched"] == "whole"
    )


def test_an_rclone_that_is_killed_before_it_serves_costs_a_try_and_not_the_run(workspace: Workspace) -> None:
    workspace.put("0018/0018_e0_raw.smc", Tiny(part="e0"))
    rclone, killed = RecordingRclone(workspace), workspace.root / "killed"
    rclone.write_script(f'[ "$1" = serve ] && [ ! -e "{killed}" ] && touch "{killed}" && kill -9 $$')
    with Instance(workspace, **RANGES) as run:
        assert run.wait() == 0, run.output
    assert killed.exists() and "serving lab: rclone was killed by signal 9" in workspace.log()
    assert marker(workspace, "0018/e0")["fetched"] == "ranges" and workspace.leftovers() == []


def test_a_reset_costs_only_the_ranges_that_were_arriving(drive_server: DriveServer) -> None:
    drive_server.workspace.put("0018/0018_e0_raw.smc", replace(WIDE, part="e0"))
    drive_server.drive.rules.append(Rule("reset", op="media", at=3_000_000, times=1))
    assert drive_server.run(extraction__cameras=["25"], **RANGES) == 0
    assert marker(drive_server.workspace, "0018/e0")["fetched"] == "ranges"


def test_an_image_that_is_damaged_by_the_download_is_downloaded_again(drive_server: DriveServer) -> None:
    path = drive_server.workspace.put("0018/0018_e0_raw.smc", replace(WIDE, part="e0"))
    image = WIDE.image("25", 5)
    at = path.read_bytes().index(image) + len(image) - 1  # its last byte: no JPEG ends so
    drive_server.drive.rules.append(Rule("corrupt", op="media", at=at, times=1))
    assert drive_server.run(extraction__cameras=["25"], **RANGES) == 0
    assert (drive_server.workspace.folder("0018/e0") / "images/cam_25/frame_000005.jpg").read_bytes() == image
    assert marker(drive_server.workspace, "0018/e0")["left_out"] == []


def test_an_image_that_is_broken_at_the_source_is_left_out(drive_server: DriveServer) -> None:
    part = replace(WIDE, part="e0", blobs_broken={("color", "25", 5): "no_end"})
    drive_server.workspace.put("0018/0018_e0_raw.smc", part)
    assert drive_server.run(extraction__cameras=["25"], **RANGES) == 0
    assert [item["frame"] for item in marker(drive_server.workspace, "0018/e0")["left_out"]] == [5]


def test_a_file_that_changes_meanwhile_starts_over(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    path = workspace.put("0018/0018_s1_all_raw.smc", Tiny(part="s1_all", cameras=("25",), frames=9))
    fetch, changed = RangeDownloader._from_account, Tiny(part="s1_all", cameras=("25",), frames=9, filler=900)

    async def and_change(self: RangeDownloader, *arguments: Any) -> None:
        await fetch(self, *arguments)
        monkeypatch.setattr(RangeDownloader, "_from_account", fetch)
        changed.write(path)

    monkeypatch.setattr(RangeDownloader, "_from_account", and_change)
    assert workspace.run(**RANGES) == 0
    assert "changed on the remote" in workspace.log()
    assert (workspace.folder("0018/s1_all") / "images/cam_25/frame_000003.jpg").read_bytes() == changed.image("25", 3)
    assert workspace.leftovers() == []


def test_a_refusal_after_the_last_range_slows_all_downloads_down(
    drive_server: DriveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The remote is asked if the file has changed meanwhile: a request like any other."""
    drive_server.workspace.put("0018/0018_e0_raw.smc", replace(WIDE, part="e0"))
    fetch, slow_down, reasons = RangeDownloader._from_account, Throttle.slow_down, []

    async def and_refuse(self: RangeDownloader, *arguments: Any) -> None:
        await fetch(self, *arguments)
        monkeypatch.setattr(RangeDownloader, "_from_account", fetch)
        drive_server.drive.rules = [Rule("userRateLimitExceeded", op="list", times=1)]

    def note(self: Throttle, reason: str) -> None:
        reasons.append(reason)
        slow_down(self, reason)

    monkeypatch.setattr(RangeDownloader, "_from_account", and_refuse)
    monkeypatch.setattr(Throttle, "slow_down", note)
    assert drive_server.run(extraction__cameras=["25"], **RANGES) == 0
    assert reasons == ["all downloads are slowed down: rate limit"]


def test_a_range_that_is_damaged_on_disk_is_downloaded_again(drive_server: DriveServer) -> None:
    drive_server.workspace.put("0018/0018_e0_raw.smc", replace(WIDE, part="e0"))
    drive_server.drive.rules.append(Rule("downloadQuotaExceeded", op="media", skip=8))
    wanted: dict[str, Any] = {"extraction__cameras": ["25"], "extraction__modalities": ["images"], **RANGES}
    assert drive_server.run("--no-wait", **wanted) == 1
    (sparse,) = drive_server.workspace.temp.glob("*.sparse")
    with sparse.open("r+b") as file:
        file.write(bytes(4096))
    with sparse.with_name(sparse.name + ".map").open("ab") as file:
        file.write(b"half an entry")
    drive_server.drive.rules.clear()
    (drive_server.workspace.root / "work" / "MANIFEST.sqlite").unlink()
    assert drive_server.run(**wanted) == 0
    assert drive_server.workspace.leftovers() == []


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """Serve a folder by HTTP without any ranges, as Python's own web server does."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_files_of_a_remote_without_ranges_are_downloaded_whole(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.put("0018/0018_e0_raw.smc", replace(WIDE, part="e0"))
    assert workspace.run(extraction__cameras=["25"]) == 0
    whole = content(workspace.folder("0018/e0"))
    with web_server(workspace.remote) as url:
        (workspace.root / "rclone.conf").write_text(f"[lab]\ntype = http\nurl = {url}\n")
        assert workspace.run("--force", extraction__cameras=["25"], **RANGES) == 0
        assert main(["inspect", "lab:0018/0018_e0_raw.smc"]) == 3
    assert content(workspace.folder("0018/e0")) == whole and marker(workspace, "0018/e0")["fetched"] == "whole"
    assert "does not serve ranges" in workspace.log() and workspace.leftovers() == []
    assert "download the file" in capsys.readouterr().err


def test_ranges_that_drive_ignores_are_given_up(drive_server: DriveServer) -> None:
    drive_server.workspace.put("0018/0018_e0_raw.smc", replace(WIDE, part="e0"))
    drive_server.drive.rules.append(Rule("ignore_range", op="media"))
    assert drive_server.run(extraction__cameras=["25"], **RANGES) == 0
    assert marker(drive_server.workspace, "0018/e0")["fetched"] == "whole" and drive_server.workspace.leftovers() == []


def test_a_pair_of_which_one_file_was_completed_resumes_there(workspace: Workspace) -> None:
    workspace.structure, workspace.subjects = "separate_anno_raw", ["0026"]
    part = Tiny("0026", "s1_all", cameras=("00", "25", "31"), masks=True, filler=30_000)
    workspace.put("raw/0026/0026_s1_all_raw.smc", replace(part, masks=False))
    workspace.put("anno/0026/0026_s1_all_anno.smc", replace(part, images=False, audio=False, anno=True))
    for fetch, point in (("ranges", "ranges downloaded"), ("whole", "part committed")):
        with Instance(workspace, hooks=[{"do": "kill", "point": point}], processing__fetch=fetch) as run:
            assert run.wait() == -signal.SIGKILL
        wait_until(lambda: not command_lines(workspace), "all children gone")
    assert len(list(workspace.temp.glob("*.sparse"))) == 1 == len(list(workspace.temp.glob("*.smc")))
    assert workspace.run(processing__fetch="whole") == 0
    assert marker(workspace, "0026/s1_all")["fetched"] == "whole" and workspace.leftovers() == []


def test_a_few_ranges_of_a_file_larger_than_the_disk_do_not_wait_for_space(workspace: Workspace) -> None:
    path = workspace.put("0018/0018_s1_all_raw.smc", replace(WIDE, part="s1_all", filler=2000))
    os.truncate(path, 2 * shutil.disk_usage(workspace.root).total)
    with Instance(workspace, extraction__modalities=["metadata"], limits__max_temp_size_gb=100) as run:
        assert run.wait() == 0
    assert marker(workspace, "0018/s1_all")["fetched"] == "ranges"
