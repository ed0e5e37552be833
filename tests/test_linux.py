"""What is written is handed to the disk at once: all of it, once, and a disk that fails is heard."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from rm360_async.domain.errors import Cause, Fault
from rm360_async.download import prefix_hasher
from rm360_async.download.prefix_hasher import PrefixHasher
from rm360_async.store.file_writer import FileWriter
from rm360_async.system import linux
from rm360_async.system.exception_groups import unwraps_faults
from rm360_async.system.sparse_file import SparseFile


def answers(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Have sync_file_range fail with an errno."""

    def call(*arguments: object) -> bool:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(linux, "_call", call)


def follow(path: Path, size: int, write: Callable[[SparseFile], None] = lambda _: None) -> None:
    """Hash a sparse file of that size to its end; `write` is called once the hasher has read what is there."""

    async def both(sparse: SparseFile) -> None:
        hasher = PrefixHasher(sparse)
        with unwraps_faults():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(hasher.follow)
                await anyio.sleep(0.3)
                write(sparse)
                hasher.finish()

    with SparseFile(path, size) as sparse:
        anyio.run(both, sparse)


def test_write_back_of_every_downloaded_byte_begins_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix_hasher, "_CHUNK_BYTES", 1000)
    handed: list[tuple[int, int]] = []
    monkeypatch.setattr(prefix_hasher, "begin_write_back", lambda file, start, size: handed.append((start, size)))
    path = tmp_path / "a.smc.sparse"
    with SparseFile(path, 3200) as sparse:
        sparse.write(0, bytes(2500))
        sparse.write(3000, bytes(200))
    follow(path, 3200, lambda sparse: sparse.write(2500, bytes(500)))
    assert handed == [(0, 1000), (1000, 1000), (2000, 500), (2500, 700)]


def one_byte(folder: Path) -> Path:
    with SparseFile(folder / "a.smc.sparse", 1) as sparse:
        sparse.write(0, b"a")
    return folder / "a.smc.sparse"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_failing_disk_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    answers(monkeypatch, number)
    expected = Cause.NOT_WRITABLE if number == errno.EIO else Cause.DISK_FULL
    with pytest.raises(Fault) as of_part:
        follow(one_byte(tmp_path), 1)
    with pytest.raises(Fault) as of_new_file:
        FileWriter(tmp_path).write("b", b"b")
    assert of_part.value.cause is of_new_file.value.cause is expected
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("number", [errno.EPERM, errno.ESPIPE, errno.EAGAIN])
def test_write_back_may_be_forbidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    answers(monkeypatch, number)
    follow(one_byte(tmp_path), 1)
    assert FileWriter(tmp_path).write("b", b"b").size == 1
