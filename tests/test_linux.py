"""What is written is handed to the disk at once: all of it, once, and a disk that fails is heard."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from rm360_async.domain.errors import Cause, Fault
from rm360_async.download.rclone import part_hasher
from rm360_async.download.rclone.part_hasher import PartHasher
from rm360_async.store.file_writer import FileWriter
from rm360_async.system import linux
from rm360_async.system.exception_groups import unwraps_faults


def answers(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Have sync_file_range fail with an errno."""

    def call(*arguments: object) -> bool:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(linux, "_call", call)


def follow(part: Path, write: Callable[[], None] = lambda: None) -> None:
    """Hash a part to its end; `write` is called once the hasher has read what is there."""
    hasher = PartHasher(part)

    async def both() -> None:
        with unwraps_faults():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(hasher.follow)
                await anyio.sleep(0.3)
                write()
                hasher.finish()

    anyio.run(both)


def test_write_back_of_every_downloaded_byte_begins_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(part_hasher, "_CHUNK_BYTES", 1000)
    handed: list[tuple[int, int]] = []
    monkeypatch.setattr(part_hasher, "begin_write_back", lambda file, start, size: handed.append((start, size)))
    part = tmp_path / "a.part"
    part.write_bytes(bytes(2500))

    def more() -> None:
        with part.open("ab") as file:
            file.write(bytes(700))

    follow(part, more)
    assert handed == [(0, 1000), (1000, 1000), (2000, 500), (2500, 700)]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_failing_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    answers(monkeypatch, number)
    (tmp_path / "a.part").write_bytes(b"a")
    expected = Cause.NOT_WRITABLE if number == errno.EIO else Cause.DISK_FULL
    with pytest.raises(Fault) as of_part:
        follow(tmp_path / "a.part")
    with pytest.raises(Fault) as of_new_file:
        FileWriter(tmp_path).write("b", b"b")
    assert of_part.value.cause is of_new_file.value.cause is expected
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("number", [errno.EPERM, errno.ESPIPE, errno.EAGAIN])
def test_write_back_may_be_forbidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    answers(monkeypatch, number)
    (tmp_path / "a.part").write_bytes(b"a")
    follow(tmp_path / "a.part")
    assert FileWriter(tmp_path).write("b", b"b").size == 1
