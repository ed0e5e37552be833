"""Fixtures that every room's tests share."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from drive_emulator import serve
from drive_server import DriveServer
from tiers import RcloneGuard, is_quick, mark_by_fixtures
from workspace import Workspace

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as of what a shell starts in the background: all we start would
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignore it too, and some of it is sent one to see it stop

_GUARD = RcloneGuard(Path(tempfile.mkdtemp(prefix="rm360-no-rclone-")))


def pytest_unconfigure() -> None:
    """Remove the guard's folder."""
    shutil.rmtree(_GUARD.folder)


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start rclone."""
    mark_by_fixtures(items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Put a stand-in in the place of rclone while a quick test and its fixtures run."""
    if not is_quick(item):
        return (yield)
    with _GUARD.first_on_path():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, None, None]:
    """Fail a quick test that started rclone."""
    yield
    if calls := _GUARD.calls():
        pytest.fail(f"a quick test started rclone; mark it with pytest.mark.rclone: {calls[0]}", pytrace=False)


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
