"""What a listing tells counts for some minutes, once for each file."""

from __future__ import annotations

from dataclasses import replace

from drive_server import DriveServer

from rm360_async.domain.clock import Clock
from rm360_async.domain.record import RemoteFile
from rm360_async.download.recent_files import RecentFiles

FILE = RemoteFile("0018/0018_e0_raw.smc", 7, md5="0" * 32)


def test_a_listed_file_counts_once_and_for_some_minutes() -> None:
    now = 100.0
    recent = RecentFiles(Clock(monotonic=lambda: now))
    recent.note([FILE, replace(FILE, path="b.smc"), replace(FILE, path="c.smc")])
    assert recent.take(FILE.path) == FILE and recent.take(FILE.path) is None, "the next attempt asks the remote"
    now += 599
    assert recent.take("b.smc") is not None
    now += 2
    assert recent.take("c.smc") is None


def test_a_file_that_no_md5_would_compare_is_looked_up() -> None:
    recent = RecentFiles()
    recent.note([replace(FILE, md5=None), replace(FILE, path="twice.smc", duplicate=True)])
    assert recent.take(FILE.path) is None and recent.take("twice.smc") is None


def test_a_run_makes_one_listing_for_all_its_files_and_looks_up_what_failed(drive_server: DriveServer) -> None:
    names = [f"e{number}" for number in range(6)]
    drive_server.put(*names)
    assert drive_server.run() == 0
    listings = sum(request.op == "list" for request in drive_server.drive.log)
    drive_server.drive.log.clear()
    drive_server.put("e6", "e7", "e8", "e9", "e10", "e11")
    assert drive_server.run() == 0
    again = sum(request.op == "list" for request in drive_server.drive.log)
    assert again == listings, "twice as many files, half of them new, cost as many listings"
