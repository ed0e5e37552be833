"""Does a remote heed where a range begins?

A server that does not (a plain web server, some WebDAV ones) gives the start of the file for every range, which could
hardly be told from a damaged file. So some bytes of each file are fetched twice, by ranges that begin elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from rm360_async.blocks import Span, SparseFile
from rm360_async.ranges.http import Lines, Source
from rm360_async.ranges.rounds import HEAD

_ECHOED: Span = (HEAD // 2, HEAD // 2 + 1024)


class Rangeless(Exception):
    """Other bytes came than were asked for of the file at `path` on the remote."""

    def __init__(self, path: str) -> None:
        super().__init__(f"the remote gives no ranges of {path}: other bytes came than were asked for")
        self.path = path


class _Echo:
    """Keeps the bytes of one range."""

    def __init__(self) -> None:
        self.bytes = b""

    def write(self, offset: int, data: bytes) -> None:
        self.bytes += data


def prove_ranges(lines: Lines, files: Mapping[str, SparseFile]) -> None:
    """Fetch the start of each file, by its path on the remote, and some of it again. Raises Rangeless, Refused."""
    echoes = {path: _Echo() for path in files}
    starts = (
        (Source(path, file), gap) for path, file in files.items() for gap in file.missing(0, min(HEAD, file.size))
    )
    again = ((Source(path, echoes[path]), _ECHOED) for path, file in files.items() if file.size >= HEAD)
    lines.fetch([*starts, *again])
    for path, file in files.items():
        came = echoes[path].bytes
        if came != os.pread(file.descriptor, len(came), _ECHOED[0]):
            raise Rangeless(path)
