"""Write new files below a folder, following no symbolic link."""

from __future__ import annotations

import errno
import io
import logging
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

_log = logging.getLogger(__name__)
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


_READ_ONLY = ("images/", "masks/")
"""Pictures of these folders are linked into exports: a program that writes there in place gets an error."""


class FileWriter:
    """Writes files below a folder; each must be new.

    Every path is opened from the folder's own descriptor, component by component. Parent folders are created when a
    file first needs them, and stay open: there are a few hundred at most. Several processes may fill one folder.
    Failures are Faults: DISK_FULL, NOT_WRITABLE, IN_THE_WAY, UNKNOWN.

    Each file is hashed once, while it is written: the bytes given, the range copied (as the source has it, so that a
    copy can always be compared with its source), or the bytes written, read back from memory. The disk begins at once
    to write a file that came in one piece, so the sync at the end has little left to wait for.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._folders = {"": os.open(path, _FOLDER_FLAGS)}

    def close(self) -> None:
        """Close the folders; the files stay."""
        while self._folders:
            os.close(self._folders.popitem()[1])

    def write(self, relative: str, data: bytes | memoryview) -> ListedFile:
        """Write a file with this content."""

        def fill(target: int) -> bytes:
            write_all(target, data)
            return hash_of(data)

        written = self._fill(relative, len(data), fill)
        reach("new file written")
        return written

    def copy(self, relative: str, source: int, offset: int, size: int) -> ListedFile:
        """Write a file from a range of the open file `source`; EOFError if that ends before."""

        def fill(target: int) -> bytes:
            copy_range(source, offset, target, size)
            return hash_of_range(source, offset, size)

        return self._fill(relative, size, fill)

    def link(self, source: Path, relative: str) -> bool:
        """Make a hard link to an existing file; return False if it can only be copied."""
        folder, _, name = relative.rpartition("/")
        with os_errors("write", self.path / relative):
            parent = self._folder(folder)
        try:
            os.link(source, name, dst_dir_fd=parent, follow_symlinks=False)
            if relative.startswith(_READ_ONLY):
                _make_read_only(name, parent)
        except OSError:  # another file system, one without links, or too many links
            return False
        return True

    @contextmanager
    def open(self, relative: str, on_written: Callable[[ListedFile], None]) -> Iterator[io.BufferedRandom]:
        """Yield a binary file to write to, and report it when it is written; if the block raises, it is removed."""
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
        on_written(ListedFile(relative, size, hashed))

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
        mode = 0o444 if relative.startswith(_READ_ONLY) else 0o666
        return os.open(name, _NEW_FILE_FLAGS, mode, dir_fd=self._folder(folder))

    def _remove(self, relative: str) -> None:
        """Remove a file that could not be written whole; the failure to be reported is the one before."""
        folder, _, name = relative.rpartition("/")
        try:
            os.unlink(name, dir_fd=self._folder(folder))
        except OSError as error:
            _log.warning("cannot remove %s, which is not whole: %s", self.path / relative, error.strerror)

    def _folder(self, relative: str) -> int:
        """Return the descriptor of a folder below the root, created if it is missing; `close` closes it."""
        if relative not in self._folders:
            parent, _, name = relative.rpartition("/")
            self._folders[relative] = _open_or_create(name, self._folder(parent))
        return self._folders[relative]


def _make_read_only(name: str, parent: int) -> None:
    """Take the right to write from a picture that an earlier version published; one of another user stays as it is."""
    mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    if mode & 0o222:
        with suppress(PermissionError):
            os.chmod(name, mode & 0o555, dir_fd=parent)


def _open_or_create(name: str, parent: int) -> int:
    if name in ("", ".", ".."):
        raise ValueError(f"{name!r} is not the name of a folder")
    try:
        return os.open(name, _FOLDER_FLAGS, dir_fd=parent)
    except FileNotFoundError:
        with suppress(FileExistsError):  # another process that fills the same folder has created it
            os.mkdir(name, dir_fd=parent)
        return os.open(name, _FOLDER_FLAGS, dir_fd=parent)


_UNSUPPORTED = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM)
"""Errors of copy_file_range across file systems, on old kernels, or in a container that forbids it."""
_CHUNK_BYTES = 2**20


def copy_range(source: int, offset: int, target: int, size: int) -> None:
    """Append `size` bytes of `source` from `offset` on to `target`; EOFError if the source ends before."""
    done = _copy_in_kernel(source, offset, target, size)
    while done < size:
        data = os.pread(source, min(_CHUNK_BYTES, size - done), offset + done)
        if not data:
            raise EOFError("the source file became shorter while it was copied")
        write_all(target, data)
        done += len(data)


def _copy_in_kernel(source: int, offset: int, target: int, size: int) -> int:
    """Return how many bytes the kernel copied; fewer than `size` if it cannot continue."""
    done = 0
    while done < size:
        try:
            count = os.copy_file_range(source, target, size - done, offset_src=offset + done)
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                return done
            raise
        if count == 0:
            return done
        done += count
    return done
