"""Watch files that nothing may open, and folders that nothing may write to."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

SECRET = b"CANARY-SECRET"
_IN_OPEN, _IN_NONBLOCK, _IN_CLOEXEC = 0x20, os.O_NONBLOCK, os.O_CLOEXEC


class OpenWatch:
    """A context manager that records which files in a folder are opened (inotify)."""

    def __init__(self, folder: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._folder = folder

    def __enter__(self) -> OpenWatch:
        self._descriptor = self._libc.inotify_init1(_IN_NONBLOCK | _IN_CLOEXEC)
        if self._descriptor < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        if self._libc.inotify_add_watch(self._descriptor, os.fsencode(self._folder), _IN_OPEN) < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch")
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    def opened(self) -> set[str]:
        """Return the names of the files that were opened since the watch began or since the last call."""
        names: set[str] = set()
        while True:
            try:
                events = os.read(self._descriptor, 65536)
            except BlockingIOError:
                return names
            while events:
                size = int.from_bytes(events[12:16], "little")
                names.add(os.fsdecode(events[16 : 16 + size].rstrip(b"\0")) or ".")
                events = events[16 + size :]


def snapshot(root: Path, excluded: Path) -> dict[str, tuple[int, int, int]]:
    """Return the inode, size and modification time of every path below a root, except for one branch."""
    states: dict[str, tuple[int, int, int]] = {}
    pending = [root]
    while pending:
        for entry in os.scandir(pending.pop()):
            path = Path(entry.path)
            if path == excluded:
                continue
            state = entry.stat(follow_symlinks=False)
            is_folder = entry.is_dir(follow_symlinks=False)
            states[str(path.relative_to(root))] = (
                state.st_ino,
                0 if is_folder else state.st_size,
                0 if is_folder else state.st_mtime_ns,
            )
            if is_folder:
                pending.append(path)
    return states
