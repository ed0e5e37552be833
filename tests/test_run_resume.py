"""Whole runs against Drive, ended in the middle of a download: each goes on from the bytes that are there.

The emulator's log is the witness of bytes asked twice.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from drive_emulator import Rule
from drive_server import DriveServer

MIB = 2**20
ROUND = MIB // 2
"""Bytes that a run brings before it is ended."""
IN_FLIGHT = MIB
"""Bytes that may be on their way, in sockets and in rclone, when it is ended."""


class Killed:
    """A run in a process of its own, ended in the middle of its download again and again."""

    def __init__(self, drive_server: DriveServer) -> None:
        self.drive_server = drive_server
        drive_server.put("e0", filler=1_500_000)
        self.size = drive_server.file("e0").stat().st_size
        drive_server.drive.rules = [Rule("slow", bps=2 * MIB)]
        self.config = drive_server.config()

    def start(self) -> subprocess.Popen[bytes]:
        package = str(Path(__file__).resolve().parent.parent)
        command = [sys.executable, "-m", "rm360_async", "run", str(self.config)]
        return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": package}, stderr=subprocess.DEVNULL)

    def end_in_the_middle(self, number: signal.Signals) -> int:
        """Start a run, end it once its download has brought some more, and return its exit code."""
        before = len(self.drive_server.downloads_of("e0"))
        process = self.start()

        def came() -> bool:
            assert process.poll() is None, "the run ended by itself"
            asked = self.drive_server.downloads_of("e0")
            return len(asked) > before and asked[-1].sent >= ROUND

        wait_for(came)
        process.send_signal(number)
        return process.wait()

    def finish(self) -> None:
        self.drive_server.drive.rules = []
        assert self.start().wait() == 0
        assert self.drive_server.statuses() == {"e0": "completed"} and self.drive_server.workspace.leftovers() == []


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for another process; the test's own timeout is the limit."""
    while not condition():
        time.sleep(0.002)


@pytest.mark.parametrize(("number", "code", "rounds"), [(signal.SIGKILL, -9, 10), (signal.SIGTERM, 143, 2)])
def test_a_run_ended_in_the_middle_of_a_download_goes_on_from_its_bytes(
    drive_server: DriveServer, number: signal.Signals, code: int, rounds: int
) -> None:
    killed = Killed(drive_server)
    for _ in range(rounds):
        assert killed.end_in_the_middle(number) == code
    killed.finish()
    asked = drive_server.downloads_of("e0")
    assert len(asked) == rounds + 1
    for ended, then in pairwise(asked):
        came = ended.start + ended.sent
        assert came - IN_FLIGHT <= then.start <= came
    assert killed.size <= sum(request.sent for request in asked) < killed.size + rounds * MIB
