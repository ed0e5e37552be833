"""Whole runs against Drive when the bytes go wrong: broken off, short, wrong, stalled, changed.

The emulator's log is the witness of bytes asked twice.
"""

from __future__ import annotations

from drive_emulator import Rule
from drive_server import DriveServer
from tiny_smc import Tiny

LARGE = 400_000
"""Filler of an image for a file of 3.2 MB: more than an attempt must bring to count as progress."""
MIB = 2**20


def test_each_passing_fault_is_mended_and_no_byte_is_asked_twice_without_need(drive_server: DriveServer) -> None:
    drive_server.put("e0", "e1", "e2", "e3", "e4", "e5", "e6", filler=20_000)
    drive_server.drive.rules = [
        Rule("reset", path="*_e0_raw.smc", at=100_001, times=1),
        Rule("close", path="*_e1_raw.smc", at=100_002, times=1),
        Rule("short", path="*_e2_raw.smc", at=100_003, times=1),
        Rule("corrupt", path="*_e3_raw.smc", at=100_004, times=1),
        Rule("internalError", path="*_e4_raw.smc", times=1),
        Rule("notFound", path="*_e5_raw.smc", times=1),
        Rule("flagged", path="*_e6_raw.smc"),
    ]
    assert drive_server.run(processing__max_retries=1) == 0
    assert set(drive_server.statuses().values()) == {"completed"}
    expected = {
        "e0": [(206, 0), (206, 100_001)],
        "e1": [(206, 0), (206, 100_002)],
        "e2": [(206, 0), (206, 100_003)],
        "e3": [(206, 0), (206, 0)],
        "e4": [(500, 0), (206, 0)],
        "e5": [(404, 0), (206, 0)],
        "e6": [(403, 0), (206, 0)],
    }
    for name, answers in expected.items():
        asked, size = drive_server.downloads_of(name), drive_server.file(name).stat().st_size
        given = [(request.status, request.start) for request in asked]
        assert given[:2] == answers, name
        # the question whether a remote serves ranges, of the file that comes first, is refused as the file was
        assert given[2:] in ([], [(403, 0)] if name == "e6" else []), name
        assert sum(request.sent for request in asked) == size * (2 if name == "e3" else 1) or name == "e2", name
    assert drive_server.workspace.leftovers() == []


def test_progress_is_not_charged_and_standing_still_is(drive_server: DriveServer) -> None:
    drive_server.put("e0", "e1", "e2", filler=LARGE)
    size = drive_server.file("e0").stat().st_size
    drive_server.drive.rules = [
        Rule("reset", path="*_e0_raw.smc", at=MIB + 70_000, times=1),
        Rule("close", path="*_e0_raw.smc", at=2 * MIB + 150_000, times=1),
        Rule("reset", path="*_e1_raw.smc", at=1000),
        Rule("reset", path="*_e2_raw.smc", at=MIB + 70_000),
    ]
    assert drive_server.run(processing__max_retries=0) == 1
    assert drive_server.statuses() == {"e0": "completed", "e1": "download_failed", "e2": "download_failed"}
    starts = [request.start for request in drive_server.downloads_of("e0")]
    assert {MIB + 70_000, 2 * MIB + 150_000} < set(starts), "each goes on where it broke off"
    assert sum(request.sent for request in drive_server.downloads_of("e0")) == size
    assert [request.start for request in drive_server.downloads_of("e1") if request.start < 1000] == [0]
    assert sum(request.sent for request in drive_server.downloads_of("e1")) < size
    assert sum(request.sent for request in drive_server.downloads_of("e2")) < size
    assert "connection reset" in drive_server.error_of("e1")


def test_max_retries_bounds_what_never_passes(drive_server: DriveServer) -> None:
    drive_server.put("e0", "e1", "e2")
    drive_server.drive.rules = [Rule("backendError", path="*_e0_raw.smc"), Rule("notFound", path="*_e1_raw.smc")]
    assert drive_server.run(processing__max_retries=2) == 1
    assert drive_server.statuses() == {"e0": "download_failed", "e1": "download_failed", "e2": "completed"}
    # of each try the request itself, perhaps once more beside the others, and the one that asks for the reason
    assert all(6 <= len(drive_server.downloads_of(name)) <= 9 for name in ("e0", "e1"))
    assert len(drive_server.downloads_of("e2")) == 1 and drive_server.tries() == 6
    assert "the remote's server failed" in drive_server.error_of("e0") and "lists the file" in drive_server.error_of(
        "e1"
    )


def test_a_stalled_download_is_ended_and_goes_on(drive_server: DriveServer) -> None:
    drive_server.put("e0", filler=LARGE)
    size, at = drive_server.file("e0").stat().st_size, 2 * MIB
    drive_server.drive.rules = [Rule("stall", at=at, times=1)]
    assert drive_server.run(processing__stall_seconds=3, processing__max_retries=20) == 0
    assert "a silent connection was dropped" in drive_server.workspace.log()
    assert size <= sum(request.sent for request in drive_server.downloads_of("e0")) <= size + MIB


def test_a_wrong_md5_for_ever_is_told_once_and_not_fetched_again(drive_server: DriveServer) -> None:
    drive_server.put("e0", "e1")
    drive_server.drive.rules = [Rule("wrong_md5", op="list", path="*_e0_raw.smc")]
    assert drive_server.run() == 1
    assert drive_server.statuses() == {"e0": "download_failed", "e1": "completed"}
    assert "twice the same; the listing of the remote is wrong, or the file is" in drive_server.error_of("e0")
    assert len(drive_server.downloads_of("e0")) == 2
    assert drive_server.run() == 1
    assert len(drive_server.downloads_of("e0")) == 2, "the next run knows it"
    assert "twice the same" in drive_server.error_of("e0")
    assert drive_server.workspace.command("retry") == 0
    assert drive_server.run() == 1
    assert len(drive_server.downloads_of("e0")) == 3, "once more, since a person asked for it"
    drive_server.drive.rules = []
    assert drive_server.run() == 0
    assert drive_server.statuses() == {"e0": "completed", "e1": "completed"}


def test_a_file_that_changed_between_two_attempts_starts_over(drive_server: DriveServer) -> None:
    drive_server.put("e0", filler=20_000)
    drive_server.drive.rules = [Rule("reset", at=100_000)]
    assert drive_server.run(processing__max_retries=0) == 1
    assert drive_server.workspace.present_bytes() == 100_000
    fresh = Tiny("0018", "e0", filler=20_000, rate=44_100)
    drive_server.workspace.put("0018/0018_e0_raw.smc", fresh)
    drive_server.drive.rules = []
    assert drive_server.run() == 0
    assert [request.start for request in drive_server.downloads_of("e0")] == [0, 100_000, 0]
    assert (
        "the remote's file has changed, starting over" in drive_server.workspace.log()
        and drive_server.workspace.leftovers() == []
    )
