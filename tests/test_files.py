"""Files that are replaced in one step, and free names."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from rm360_async.system.files import free_name, sync, sync_folder, write_all, write_atomically


def test_a_file_is_made_and_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    write_atomically(path, b"old")
    with path.open("rb") as reader:
        write_atomically(path, b"new")
        assert reader.read() == b"old" and path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os if step == "fsync" else Path, step, fail)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_content_and_folder_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []

    def fsync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomically(tmp_path / "a", b"new")
    assert re.fullmatch(rf"{tmp_path}/\.a\.[0-9a-f]{{8}}\.new", synced[0]) and synced[1:] == [str(tmp_path)]


def test_symbolic_links_are_replaced_and_their_targets_untouched(tmp_path: Path) -> None:
    target, path = tmp_path / "target", tmp_path / "a"
    target.write_bytes(b"precious")
    path.symlink_to(target)
    write_atomically(path, b"new")
    assert target.read_bytes() == b"precious" and not path.is_symlink() and path.read_bytes() == b"new"


def test_only_the_folder_of_a_durable_name_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    sync_folder(tmp_path / "link")
    sync(tmp_path / "real")
    with pytest.raises(OSError, match="symbolic links"):
        sync(tmp_path / "link")


def test_a_short_write_is_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    written = bytearray()

    def write(_: int, data: memoryview) -> int:
        written.extend(data[:2])
        return min(2, len(data))

    monkeypatch.setattr(os, "write", write)
    write_all(1, b"12345")
    assert written == b"12345"


def test_the_first_free_name(tmp_path: Path) -> None:
    path = tmp_path / "a.damaged"
    assert free_name(path) == path
    path.write_bytes(b"one")
    (tmp_path / "a.damaged-2").symlink_to(tmp_path / "absent")
    assert free_name(path).name == "a.damaged-3"
    same = tmp_path / "same"
    same.write_bytes(b"one")
    assert free_name(path, same_as=same) == path
