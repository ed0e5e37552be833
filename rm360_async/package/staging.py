"""The folder that a performance is written to before it is published."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from rm360_async.errors import Cause, Fault
from rm360_async.package.copying import copy_range, write_all
from rm360_async.package.writing import write_fault, writing
from rm360_async.record import FILE_LIST, ListedFile, hash_of, hash_of_range, write_files

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class StagingFolder:
    """A new folder, made by us, in which every file is new; a context manager.

    Every path is walked from the folder's own descriptor, component by component, and no symbolic link is
    followed. Parent folders are made when a file first needs them, and stay open: there are some hundred at
    most. `write`, `copy` and `open` may be called from several threads. Failures are Faults: DISK_FULL,
    NOT_WRITABLE, IN_THE_WAY.

    Each file is hashed once, while it is written: the bytes given, the range copied (as the source has it, so
    that a copy can be compared with its source for ever), or what was written, read back from memory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.parent.is_symlink():
                raise Fault(Cause.IN_THE_WAY, f"{path.parent} is a symbolic link", "put a real folder there")
            path.mkdir()
            self._folders = {"": os.open(path, _FOLDER)}
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self.sizes: dict[str, int] = {}
        self.hashes: dict[str, bytes] = {}
        self.bytes = 0

    def __enter__(self) -> StagingFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder; its files stay."""
        while self._folders:
            os.close(self._folders.popitem()[1])

    @property
    def files(self) -> int:
        """Return how many files were written."""
        return len(self.sizes)

    def write(self, relative: str, data: bytes) -> None:
        """Write a new file."""

        def fill(target: int) -> bytes:
            write_all(target, data)
            return hash_of(data)

        self._fill(relative, len(data), fill)

    def copy(self, relative: str, source: int, offset: int, size: int) -> None:
        """Write a new file from a range of an open one; EOFError when that ends before."""

        def fill(target: int) -> bytes:
            copy_range(source, offset, target, size)
            return hash_of_range(source, offset, size)

        self._fill(relative, size, fill)

    def link(self, source: Path, listed: ListedFile) -> None:
        """Take over a published file under the path that its list has: linked, or copied where that is refused.

        Raises Fault(UNKNOWN) when it is gone or has another size by now.
        """
        try:
            descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise Fault(Cause.UNKNOWN, f"{source} cannot be taken over: {error.strerror}") from error
        try:
            if os.fstat(descriptor).st_size != listed.size:
                raise Fault(Cause.UNKNOWN, f"{source} cannot be taken over: it has no longer {listed.size} bytes")
            if not self._linked(source, listed.path):
                self.copy(listed.path, descriptor, 0, listed.size)
                return
            self._note(listed.path, listed.size, listed.hash or hash_of_range(descriptor, 0, listed.size))
        finally:
            os.close(descriptor)

    def _linked(self, source: Path, relative: str) -> bool:
        folder, _, name = relative.rpartition("/")
        with writing(self.path / relative):
            parent = self._folder(folder)
        try:
            os.link(source, name, dst_dir_fd=parent, follow_symlinks=False)
        except OSError:  # another file system, one without links, too many links: then it is copied
            return False
        return True

    @contextmanager
    def open(self, relative: str) -> Iterator[io.BufferedRandom]:
        """Yield a new binary file to write to; when the block raises, the file is removed again."""
        path = self.path / relative
        with writing(path):
            descriptor = self._create(relative)
            try:
                with os.fdopen(descriptor, "w+b") as file:
                    yield file
                    file.flush()
                    size = os.fstat(file.fileno()).st_size
                    hashed = hash_of_range(file.fileno(), 0, size)
            except BaseException:
                self._remove(relative)
                raise
        self._note(relative, size, hashed)

    def write_list(self) -> None:
        """Write the list of all files so far with their hashes; it does not count as a file itself."""
        with (
            writing(self.path / FILE_LIST),
            os.fdopen(self._create(FILE_LIST), "w", encoding="utf-8", newline="") as file,
        ):
            write_files(file, (ListedFile(path, self.sizes[path], self.hashes[path]) for path in sorted(self.sizes)))

    def _fill(self, relative: str, size: int, fill: Callable[[int], bytes]) -> None:
        try:
            target = self._create(relative)
            try:
                hashed = fill(target)
            except BaseException:
                self._remove(relative)
                raise
            finally:
                os.close(target)
        except OSError as error:
            raise write_fault(error, self.path / relative) from error
        self._note(relative, size, hashed)

    def _note(self, relative: str, size: int, hashed: bytes) -> None:
        with self._lock:
            self.sizes[relative] = size
            self.hashes[relative] = hashed
            self.bytes += size

    def _create(self, relative: str) -> int:
        folder, _, name = relative.rpartition("/")
        return os.open(name, _NEW_FILE, 0o666, dir_fd=self._folder(folder))

    def _remove(self, relative: str) -> None:
        folder, _, name = relative.rpartition("/")
        os.unlink(name, dir_fd=self._folder(folder))

    def _folder(self, relative: str) -> int:
        """Return the descriptor of a folder below the root, made where missing; it is closed with this one."""
        found = self._folders.get(relative)
        if found is not None:
            return found
        parent, _, name = relative.rpartition("/")
        above = self._folder(parent)
        with self._making:
            if relative not in self._folders:
                self._folders[relative] = _open_or_make(name, above)
            return self._folders[relative]


def _open_or_make(name: str, parent: int) -> int:
    if name in ("", ".", ".."):
        raise ValueError(f"{name!r} is not the name of a folder")
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    except FileNotFoundError:
        os.mkdir(name, dir_fd=parent)
        return os.open(name, _FOLDER, dir_fd=parent)
