"""Which ffmpeg is used: the first one that encodes MP3."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from rm360_async.system.ffmpeg import choose_ffmpeg


@pytest.fixture
def on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the path of a program `ffmpeg` that is alone on PATH, and a bundled one that works."""
    bundled = program(tmp_path / "bundled", 0)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", SimpleNamespace(get_ffmpeg_exe=lambda: str(bundled)))
    return tmp_path / "ffmpeg"


def program(path: Path, exit_code: int) -> Path:
    path.write_text(f"#!/bin/sh\n/bin/echo sound\nexit {exit_code}\n")
    path.chmod(0o755)
    return path


def test_the_one_on_path_comes_first(on_path: Path) -> None:
    path = program(on_path, 0)
    assert choose_ffmpeg()[0] == str(path)


def test_one_that_does_not_run_is_passed_over(on_path: Path) -> None:
    program(on_path, 127)
    assert choose_ffmpeg()[0] == str(on_path.with_name("bundled"))


def test_without_one_on_path_the_bundled_one_is_used(on_path: Path) -> None:
    assert choose_ffmpeg()[0] == str(on_path.with_name("bundled"))


@pytest.mark.parametrize("bundled", ["absent", "broken"])
def test_there_may_be_none(on_path: Path, monkeypatch: pytest.MonkeyPatch, bundled: str) -> None:
    if bundled == "absent":
        monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    else:
        program(on_path.with_name("bundled"), 1)
    assert choose_ffmpeg()[0] is None
