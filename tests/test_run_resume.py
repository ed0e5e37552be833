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
from pathlib import Path

import pytest
from drive_emulator import Rule
from drive_server import DriveServer

from rm360_async.download.segment_fetcher import BUFFER_BYTES

MIB = 2**20
CONNECTIONS = 2
ROUND = MIB // 2
"""Bytes that a run brings before it is ended."""
IN_FLIGHT = MIB // 4
"""Bytes of each connection that may be on their way, in sockets and in rclone, when it is ended."""


class Killed:
    """A run in a process of its own, ended in the middle of its download again and again."""

    def __init__(self, drive_server: DriveServer) -> None:
        self.drive_server = drive_server
        drive_server.put("e0", filler=1_500_000)
        self.size = drive_server.file("e0").stat().st_size
        drive_server.drive.rules = [Rule("slow", bps=2 * MIB)]
        self.config = drive_server.config(processing__connections=CONNECTIONS)

    def start(self) -> subprocess.Popen[bytes]:
        package = str(Path(__file__).resolve().parent.parent)
        command = [sys.executable, "-m", "rm360_async", "run", str(self.config)]
        return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": package}, stderr=subprocess.DEVNULL)

    def end_in_the_middle(self, number: signal.Signals) -> int:
        """Start a run, end it once its download has brought some more, and return its exit code."""
        before = self.drive_server.workspace.present_bytes()
        process = self.start()

        def has_grown() -> bool:
            assert process.poll() is None, "the run ended by itself"
            return self.drive_server.workspace.present_bytes() >= before + ROUND

        wait_for(has_grown)
        process.send_signal(number)
        return process.wait()

    def finish(self) -> None:
        self.drive_server.drive.rules = []
        assert self.start().wait() == 0
        assert self.drive_server.statuses() == {"e0": "completed"} and self.drive_server.workspace.leftovers() == []


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for another process; the test's own timeout is the limit."""
    while not condition():
        time.sleep(0.01)


@pytest.mark.parametrize(("number", "code", "rounds"), [(signal.SIGKILL, -9, 4), (signal.SIGTERM, 143, 2)])
def test_a_run_ended_in_the_middle_of_a_download_goes_on_from_its_bytes(
    drive_server: DriveServer, number: signal.Signals, code: int, rounds: int
) -> None:
    killed = Killed(drive_server)
    for _ in range(rounds):
        assert killed.end_in_the_middle(number) == code
    killed.finish()
    sent = sum(request.sent for request in drive_server.downloads_of("e0"))
    assert killed.size <= sent < killed.size + rounds * CONNECTIONS * (BUFFER_BYTES + IN_FLIGHT)
