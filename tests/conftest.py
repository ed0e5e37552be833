"""Fixtures that all tests share, and the hooks that sort the tests into tiers (see tiers.py)."""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from drive_emulator import Drive, serve
from drive_files import write_release
from drive_server import DriveServer, serve_drive
from tiers import RcloneGuard, is_quick, mark_by_fixtures
from workspace import Workspace

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell sets this for what it starts in the background. Child processes inherit it, and some tests send SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)

_GUARD = RcloneGuard(Path(tempfile.mkdtemp(prefix="rm360-no-rclone-")))


def pytest_unconfigure() -> None:
    """Remove the guard's folder."""
    shutil.rmtree(_GUARD.folder)


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the markers of the tiers by fixtures; the slow ones come first, or the last of them would run alone."""
    mark_by_fixtures(items)
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


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
    """Replace characters in captured output that cannot be encoded: a file name need not be UTF-8.

    The processes of pytest-xdist send reports to each other as UTF-8.
    """
    report = yield
    report.sections = [(title, text.encode(errors="backslashreplace").decode()) for title, text in report.sections]
    return report


@pytest.fixture
def anyio_backend() -> str:
    """Run async tests on asyncio."""
    return "asyncio"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Return a workspace for whole runs, with an empty local remote."""
    return Workspace(tmp_path, monkeypatch)


@pytest.fixture
def drive_server(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DriveServer]:
    """Yield a workspace whose remote is the Drive emulator, without faults; rclone is configured by environment."""
    with serve_drive(workspace, tmp_path / "drive", monkeypatch) as server:
        yield server


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a remote's folder (see `write_release`)."""
    root = tmp_path_factory.mktemp("release")
    write_release(root)
    return root


@pytest.fixture(scope="module")
def one_drive(release: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drive]:
    """Yield the emulator that serves `release` to all tests of a module."""
    with serve(release, tmp_path_factory.mktemp("drive")) as drive:
        yield drive


@pytest.fixture
def drive(one_drive: Drive) -> Drive:
    """Return the drive without faults and with an empty log."""
    one_drive.reset()
    return one_drive
