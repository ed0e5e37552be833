"""The tiers of the tests: which tests start rclone, and a guard that catches a quick one that does.

A quick test starts no rclone and no whole run (which begins with a listing by rclone). The marker `rclone` is given to
every test that uses one of `RCLONE_FIXTURES`, or a fixture that its own module names in a constant `RCLONE_FIXTURES`;
other tests that start rclone carry the marker themselves. `slow` marks what takes long for another reason; a module's
`SLOW_FIXTURES` sets it likewise. `scripts/test --quick` runs what has neither marker.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

RCLONE_FIXTURES = frozenset({"workspace", "drive_server", "drive", "release"})
"""Fixtures for whole runs and for downloads. `Instance`, `Rclone` and `SmallDisk` are built from a workspace."""
NOT_QUICK = ("rclone", "slow")


def mark_by_fixtures(items: Iterable[pytest.Item]) -> None:
    """Give the markers `rclone` and `slow` to every test that uses a fixture that takes them."""
    for item in items:
        module = getattr(item, "module", None)
        rclone = RCLONE_FIXTURES | set(getattr(module, "RCLONE_FIXTURES", ()))
        slow = set(getattr(module, "SLOW_FIXTURES", ()))
        for marker, fixtures in (("rclone", rclone), ("slow", slow)):
            if fixtures.intersection(getattr(item, "fixturenames", ())):
                item.add_marker(marker)


def is_quick(item: pytest.Item) -> bool:
    """Return True if a test belongs to the quick tier."""
    return not any(item.get_closest_marker(name) for name in NOT_QUICK)


class RcloneGuard:
    """A stand-in for rclone, first on PATH, that notes each call and fails.

    PATH comes before the rclone that the package brings, and child processes inherit it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._calls = folder, folder / "calls"
        script = folder / "rclone"
        version = '[ "$1" = version ] && echo "rclone v99.0.0" && exit'  # or the packaged one would be preferred
        script.write_text(f'#!/bin/sh\n{version}\necho "rclone $*" >> "{self._calls}"\nexit 97\n')
        script.chmod(0o755)

    @contextmanager
    def first_on_path(self) -> Iterator[None]:
        """Put the stand-in first on PATH for as long as the context lasts."""
        path = os.environ["PATH"]
        os.environ["PATH"] = f"{self.folder}{os.pathsep}{path}"
        try:
            yield
        finally:
            os.environ["PATH"] = path

    def calls(self) -> list[str]:
        """Return the command lines that the stand-in got since the last call of this method."""
        if not self._calls.exists():
            return []
        lines = self._calls.read_text(errors="replace").splitlines()
        self._calls.unlink()
        return lines
