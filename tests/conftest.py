"""Fixtures that every room's tests share."""

from __future__ import annotations

import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from drive_emulator import serve
from drive_server import DriveServer
from workspace import Workspace

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as of what a shell starts in the background: all we start would
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignore it too, and some of it is sent one to see it stop


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Make what a test logged fit to travel between the processes of the tests: names of files need not be UTF-8."""
    report = yield
    report.sections = [(title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections]
    return report


@pytest.fixture
def anyio_backend() -> str:
    """Run async tests on asyncio."""
    return "asyncio"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Give a lab with an empty local remote."""
    return Workspace(tmp_path, monkeypatch)


@pytest.fixture
def drive_server(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DriveServer]:
    """Give a lab whose remote is a Drive, without faults."""
    with serve(workspace.remote, tmp_path / "drive") as drive:
        for key, value in drive.env().items():
            monkeypatch.setenv(key, value)
        yield DriveServer(workspace, drive)
