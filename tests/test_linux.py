"""What is written is handed to the disk at once: all of it, once, and a disk that fails is heard."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from rm360_async.domain.errors import Cause, Fault
from rm360_async.download.rclone import transfer
from rm360_async.download.rclone.transfer import PartHasher
from rm360_async.store.file_writer import NewFiles
from rm360_async.system import linux


def answers(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Have sync_file_range fail with an errno."""

    def call(*arguments: object) -> bool:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(linux, "_call", call)


def follow(part: Path, write: Callable[[], None] = lambda: None) -> PartHasher:
    """Follow a part to its end; `write` comes once the follower has read what is there."""
    follower = PartHasher(part)

    async def both() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follower.follow)
            await anyio.sleep(0.3)
            write()
            follower.finish()

    anyio.run(both)
    return follower


def test_every_byte_of_a_download_is_handed_to_the_disk_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_CHUNK", 1000)
    handed: list[tuple[int, int]] = []
    monkeypatch.setattr(transfer, "begin_write_back", lambda file, start, size: handed.append((start, size)))
    part = tmp_path / "a.part"
    part.write_bytes(bytes(2500))

    def more() -> None:
        with part.open("ab") as file:
            file.write(bytes(700))

    follower = follow(part, more)
    assert handed == [(0, 1000), (1000, 1000), (2000, 500), (2500, 700)] and follower.error is None


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fails_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    answers(monkeypatch, number)
    (tmp_path / "a.part").write_bytes(b"a")
    heard = follow(tmp_path / "a.part").error
    assert heard is not None and heard.errno == number
    with pytest.raises(Fault) as told:
        NewFiles(tmp_path).write("b", b"b")
    assert told.value.cause is (Cause.NOT_WRITABLE if number == errno.EIO else Cause.DISK_FULL)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("number", [errno.EPERM, errno.ESPIPE, errno.EAGAIN])
def test_a_system_that_forbids_it_does_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    answers(monkeypatch, number)
    (tmp_path / "a.part").write_bytes(b"a")
    assert follow(tmp_path / "a.part").error is None
    assert NewFiles(tmp_path).write("b", b"b").size == 1
