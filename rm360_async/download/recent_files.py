"""What the remote has listed lately, so that not every file needs a lookup of its own.

Theory of operation. A lookup costs a process and some round trips, as long as a small file downloads; the listing of a
folder costs as much and tells of all its files. So what a listing tells counts for some minutes, once for each file:
an attempt that follows a failure asks the remote again. A file that has changed since then does no harm: only files
with an md5 are kept, and the md5 of what arrives is compared with it.
"""

from __future__ import annotations

from collections.abc import Iterable

from rm360_async.domain.clock import SYSTEM_CLOCK, Clock
from rm360_async.domain.record import RemoteFile

_FRESH_SECONDS = 600.0


class RecentFiles:
    """The files of the last listings, by their paths."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._files: dict[str, tuple[float, RemoteFile]] = {}

    def note(self, files: Iterable[RemoteFile]) -> None:
        """Keep what has just been listed, and drop what is too old."""
        now = self._clock.monotonic()
        if self._files:
            self._files = {path: each for path, each in self._files.items() if now - each[0] < _FRESH_SECONDS}
        self._files |= {file.path: (now, file) for file in files if file.md5 is not None and not file.duplicate}

    def take(self, path: str) -> RemoteFile | None:
        """Return a file that was listed lately; None if the remote has to be asked. It is not returned twice."""
        listed_at, file = self._files.pop(path, (float("-inf"), None))
        return file if self._clock.monotonic() - listed_at < _FRESH_SECONDS else None
