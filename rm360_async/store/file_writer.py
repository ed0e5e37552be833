"""Make new files below a folder, following no symbolic link."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rm360_async.store.file_list import ListedFile
from rm360_async.system.fault_points import reach
from rm360_async.system.files import write_all
from rm360_async.system.hashing import hash_of, hash_of_range
from rm360_async.system.linux import begin_write_back
from rm360_async.system.os_errors import os_errors

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class NewFiles:
    """Makes files below a folder, every one of them new.

    Every path is walked from the folder's own descriptor, component by component. Parent folders are made when a
    file first needs them, and stay open: there are some hundred at most. Several processes may fill one folder.
    Failures are Faults: DISK_FULL, NOT_WRITABLE, IN_THE_WAY, UNKNOWN.

    Each file is hashed once, while it is written: the bytes given, the range copied (as the source has it, so
    that a copy can be compared with its source for ever), or what was written, read back from memory. The disk
    begins at once to write what came in one piece: the sync at the end then finds little left to wait for.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._folders = {"": os.open(path, _FOLDER)}

    def close(self) -> None:
        """Let go of the folders; the files stay."""
        while self._folders:
            os.close(self._folders.popitem()[1])

    def write(self, relative: str, data: bytes | memoryview) -> ListedFile:
        """Write a file."""

        def fill(target: int) -> bytes:
            write_all(target, data)
            return hash_of(data)

        written = self._fill(relative, len(data), fill)
        reach("new file written")
        return written

    def copy(self, relative: str, source: int, offset: int, size: int) -> ListedFile:
        """Write a file from a range of an open one; EOFError when that ends before."""

        def fill(target: int) -> bytes:
            copy_range(source, offset, target, size)
            return hash_of_range(source, offset, size)

        return self._fill(relative, size, fill)

    def link(self, source: Path, relative: str) -> bool:
        """Give an existing file this name as well; False where it can only be copied."""
        folder, _, name = relative.rpartition("/")
        with os_errors("write", self.path / relative):
            parent = self._folder(folder)
        try:
            os.link(source, name, dst_dir_fd=parent, follow_symlinks=False)
        except OSError:  # another file system, one without links, too many links: then it is copied
            return False
        return True

    @contextmanager
    def open(self, relative: str, listed: Callable[[ListedFile], None]) -> Iterator[io.BufferedRandom]:
        """Yield a binary file to write to, then tell what it has become; when the block raises, it is removed."""
        with os_errors("write", self.path / relative):
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
        listed(ListedFile(relative, size, hashed))

    def _fill(self, relative: str, size: int, fill: Callable[[int], bytes]) -> ListedFile:
        with os_errors("write", self.path / relative):
            target = self._create(relative)
            try:
                hashed = fill(target)
                begin_write_back(target, 0, size)
            except BaseException:
                self._remove(relative)
                raise
            finally:
                os.close(target)
        return ListedFile(relative, size, hashed)

    def _create(self, relative: str) -> int:
        folder, _, name = relative.rpartition("/")
        return os.open(name, _NEW_FILE, 0o666, dir_fd=self._folder(folder))

    def _remove(self, relative: str) -> None:
        folder, _, name = relative.rpartition("/")
        os.unlink(name, dir_fd=self._folder(folder))

    def _folder(self, relative: str) -> int:
        """Return the descriptor of a folder below the root, made where missing; it is closed with this one."""
        if relative not in self._folders:
            parent, _, name = relative.rpartition("/")
            self._folders[relative] = _open_or_make(name, self._folder(parent))
        return self._folders[relative]


def _open_or_make(name: str, parent: int) -> int:
    if name in ("", ".", ".."):
        raise ValueError(f"{name!r} is not the name of a folder")
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    except FileNotFoundError:
        with suppress(FileExistsError):  # another process that fills the same folder was quicker
            os.mkdir(name, dir_fd=parent)
        return os.open(name, _FOLDER, dir_fd=parent)


_CANNOT = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM)
"""copy_file_range across file systems, on old kernels, or filtered by a container: read and write instead."""
_CHUNK = 2**20


def copy_range(source: int, offset: int, target: int, size: int) -> None:
    """Append `size` bytes of `source` from `offset` on to `target`; EOFError when the source ends before."""
    done = _by_kernel(source, offset, target, size)
    while done < size:
        data = os.pread(source, min(_CHUNK, size - done), offset + done)
        if not data:
            raise EOFError("the source file has become shorter while it was copied")
        write_all(target, data)
        done += len(data)


def _by_kernel(source: int, offset: int, target: int, size: int) -> int:
    """Return how many bytes the kernel copied; fewer than `size` when it cannot go on."""
    done = 0
    while done < size:
        try:
            count = os.copy_file_range(source, target, size - done, offset_src=offset + done)
        except OSError as error:
            if error.errno in _CANNOT:
                return done
            raise
        if count == 0:
            return done
        done += count
    return done
