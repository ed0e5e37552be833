"""The folder that a performance is written to before it is published."""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Performance, is_performance, is_subject
from rm360_async.store.file_list import FILE_LIST, ListedFile, write_file_list
from rm360_async.store.file_writer import FileWriter
from rm360_async.system.fault_points import reach
from rm360_async.system.file_locks import SHARED, try_lock
from rm360_async.system.hashing import hash_of_range
from rm360_async.system.os_errors import os_errors

_MAX_SECONDS, _TRY_SECONDS = 30.0, 0.01
"""How long the folder may be taken away: a bound in time, because a busy machine loses many tries in a row."""


class StagingLock:
    """A staging folder that this process uses, so that no other removes it (see `system.file_locks`).

    The folder is created, and the subject's folder above it; an empty one, locked by the process that has started this
    one, is taken as it is. Several processes may have one folder locked. Raises Fault. A context manager.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with os_errors("create the folder", path):
            self._descriptor = _lock_new_folder(path)

    def release(self) -> None:
        """Let others remove the folder if it is still there; does nothing the second time."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __enter__(self) -> StagingLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _lock_new_folder(path: Path) -> int:
    """Return the descriptor of a new or empty folder, locked."""
    end = time.monotonic() + _MAX_SECONDS
    while time.monotonic() < end:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.parent.is_symlink():
                raise Fault(Cause.IN_THE_WAY, f"{path.parent} is a symbolic link", "put a real folder there")
            with suppress(FileExistsError):
                path.mkdir()
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (FileNotFoundError, FileExistsError) as error:
            if isinstance(error, FileExistsError) and os.path.lexists(path.parent) and not path.parent.is_dir():
                raise  # something else has the subject's name
            continue  # another extraction has just removed the subject's folder, which was empty
        if try_lock(descriptor, path, SHARED):
            _require_empty(descriptor, path)
            return descriptor
        os.close(descriptor)  # a process that sweeps has taken it in the moment before it was locked
        time.sleep(_TRY_SECONDS)
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(path))


def _require_empty(descriptor: int, path: Path) -> None:
    if os.listdir(descriptor):
        os.close(descriptor)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


class StagingFolder:
    """A new folder, and the sizes and hashes of its files; a context manager.

    `write`, `copy`, `link` and `open` write a file and add it. A file that another process wrote with `writer` is added
    by `add_file`. Failures to write are Faults, see `FileWriter`. The folder is locked until `close`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = StagingLock(path)
        with os_errors("create the folder", path):
            self.writer = FileWriter(path)
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
        """Close the folder; its files stay."""
        self.writer.close()
        self._lock.release()

    @property
    def files(self) -> int:
        """Return how many files were written."""
        return len(self.sizes)

    def add_file(self, file: ListedFile) -> None:
        """Add a file that was written to the folder."""
        self.sizes[file.path] = file.size
        self.hashes[file.path] = file.hash
        self.bytes += file.size

    def write(self, relative: str, data: bytes | memoryview) -> None:
        """Write a new file."""
        self.add_file(self.writer.write(relative, data))
        reach("file written")

    def copy(self, relative: str, source: int, offset: int, size: int) -> None:
        """Write a new file from a range of the open file `source`; EOFError if that ends before."""
        self.add_file(self.writer.copy(relative, source, offset, size))

    def open(self, relative: str) -> AbstractContextManager[io.BufferedRandom]:
        """Yield a new binary file to write to; if the block raises, the file is removed."""
        return self.writer.open(relative, self.add_file)

    def link(self, source: Path, listed: ListedFile) -> None:
        """Add a published file under the path in its list: as a hard link, or as a copy where links are not possible.

        Raises Fault(UNKNOWN) if the file is gone or no longer has its size.
        """
        with os_errors("reuse", source, cause=Cause.UNKNOWN):
            descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if os.fstat(descriptor).st_size != listed.size:
                raise Fault(Cause.UNKNOWN, f"cannot reuse {source}: it no longer has {listed.size} bytes")
            if self.writer.link(source, listed.path):
                hashed = listed.hash or hash_of_range(descriptor, 0, listed.size)
                self.add_file(ListedFile(listed.path, listed.size, hashed))
            else:
                self.copy(listed.path, descriptor, 0, listed.size)
        finally:
            os.close(descriptor)
        reach("file reused")

    def write_list(self) -> None:
        """Write the list of all files so far with their hashes; the list itself is not in it."""
        with self.writer.open(FILE_LIST, lambda file: None) as binary:
            text = io.TextIOWrapper(binary, encoding="utf-8", newline="")
            paths = sorted(self.sizes)
            write_file_list(text, (ListedFile(path, self.sizes[path], self.hashes[path]) for path in paths))
            text.detach()  # `writer.open` closes the file
        reach("file list written")


_STAGING = re.compile(r"\.(?P<name>[a-z0-9_]+)\.(?P<attempt>[A-Za-z0-9_-]+)\.staging")


def staging_path(final: Path, attempt: str) -> Path:
    """Return the staging folder of one attempt: `<subject>/.s1_all.<attempt>.staging` for `<subject>/s1_all`."""
    return final.parent / f".{final.name}.{attempt}.staging"


def is_staging_name(name: str) -> bool:
    """Return True for the name of a staging folder."""
    return _STAGING.fullmatch(name) is not None


def staged_name(name: str) -> str:
    """Return the final name of what a staging folder of this name holds."""
    match = _STAGING.fullmatch(name)
    return name if match is None else match["name"]


def find_staging_folders(output_dir: Path) -> list[tuple[Performance, Path]]:
    """Return every staging folder below an output folder, also those that crashed attempts left behind."""
    return [
        (Performance(subject.name, match["name"]), Path(entry.path))
        for subject in _folders(output_dir)
        if is_subject(subject.name)
        for entry in _folders(Path(subject.path))
        if (match := _STAGING.fullmatch(entry.name)) and is_performance(match["name"])
    ]


def remove_tree(path: Path) -> None:
    """Remove a folder with everything in it, if it exists; no symbolic link is followed.

    A link in the place of the folder is itself removed. Raises Fault.
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
    """Yield the real folders in a folder, sorted; none if it does not exist."""
    try:
        with os.scandir(path) as entries:
            folders = [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return
    yield from sorted(folders, key=lambda entry: entry.name)
