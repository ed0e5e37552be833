"""The folder that a performance is written to before it is published."""

from __future__ import annotations

import io
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Performance, is_performance, is_subject
from rm360_async.store.file_list import FILE_LIST, ListedFile, write_files
from rm360_async.store.file_writer import NewFiles
from rm360_async.system.fault_points import reach
from rm360_async.system.hashing import hash_of_range
from rm360_async.system.os_errors import os_errors


class StagingFolder:
    """A new folder, made by us, and the account of its files (see `NewFiles`); a context manager.

    Files are `new` and noted here by whoever has them made; `write`, `copy`, `link` and `open` do both.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with os_errors("create the folder", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.parent.is_symlink():
                raise Fault(Cause.IN_THE_WAY, f"{path.parent} is a symbolic link", "put a real folder there")
            path.mkdir()
            self.new = NewFiles(path)
        self.sizes: dict[str, int] = {}
        self.hashes: dict[str, bytes | None] = {}
        self.bytes = 0
        reach("staging folder made")

    def __enter__(self) -> StagingFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder; its files stay."""
        self.new.close()

    @property
    def files(self) -> int:
        """Return how many files were written."""
        return len(self.sizes)

    def note(self, file: ListedFile) -> None:
        """Take a new file into the account."""
        self.sizes[file.path] = file.size
        self.hashes[file.path] = file.hash
        self.bytes += file.size

    def write(self, relative: str, data: bytes | memoryview) -> None:
        """Write a new file."""
        self.note(self.new.write(relative, data))
        reach("file written")

    def copy(self, relative: str, source: int, offset: int, size: int) -> None:
        """Write a new file from a range of an open one; EOFError when that ends before."""
        self.note(self.new.copy(relative, source, offset, size))

    def open(self, relative: str) -> AbstractContextManager[io.BufferedRandom]:
        """Yield a new binary file to write to; when the block raises, the file is removed again."""
        return self.new.open(relative, self.note)

    def link(self, source: Path, listed: ListedFile) -> None:
        """Take over a published file under the path that its list has: linked, or copied where that is refused.

        Raises Fault(UNKNOWN) when it is gone or has another size by now.
        """
        with os_errors("reuse", source, cause=Cause.UNKNOWN):
            descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if os.fstat(descriptor).st_size != listed.size:
                raise Fault(Cause.UNKNOWN, f"cannot reuse {source}: it no longer has {listed.size} bytes")
            if self.new.link(source, listed.path):
                hashed = listed.hash or hash_of_range(descriptor, 0, listed.size)
                self.note(ListedFile(listed.path, listed.size, hashed))
            else:
                self.copy(listed.path, descriptor, 0, listed.size)
        finally:
            os.close(descriptor)
        reach("file reused")

    def write_list(self) -> None:
        """Write the list of all files so far with their hashes; it does not count as a file itself."""
        with self.new.open(FILE_LIST, lambda file: None) as binary:
            text = io.TextIOWrapper(binary, encoding="utf-8", newline="")
            write_files(text, (ListedFile(path, self.sizes[path], self.hashes[path]) for path in sorted(self.sizes)))
            text.detach()  # its owner closes the file
        reach("file list written")


_STAGING = re.compile(r"\.(?P<name>[a-z0-9_]+)\.(?P<attempt>[A-Za-z0-9_-]+)\.staging")


def staging_path(final: Path, attempt: str) -> Path:
    """Return the staging place of one attempt: `<subject>/.s1_all.<attempt>.staging` for `<subject>/s1_all`."""
    return final.parent / f".{final.name}.{attempt}.staging"


def find_staging(output_dir: Path) -> list[tuple[Performance, Path]]:
    """Return every staging folder below an output folder, also those that crashed attempts left."""
    return [
        (Performance(subject.name, match["name"]), Path(entry.path))
        for subject in _folders(output_dir)
        if is_subject(subject.name)
        for entry in _folders(Path(subject.path))
        if (match := _STAGING.fullmatch(entry.name)) and is_performance(match["name"])
    ]


def remove_tree(path: Path) -> None:
    """Remove a folder and all below it, no link followed; nothing happens when it is not there.

    A link in the place of the folder is removed itself.
    """
    with os_errors("remove", path):
        try:
            if path.is_symlink():
                path.unlink()
            else:
                shutil.rmtree(path)
        except FileNotFoundError:
            return


def _folders(path: Path) -> Iterator[os.DirEntry[str]]:
    """Yield the real folders in a folder, sorted; none when it is not there."""
    try:
        with os.scandir(path) as found:
            listed = sorted((entry for entry in found if entry.is_dir(follow_symlinks=False)), key=lambda e: e.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    yield from listed
