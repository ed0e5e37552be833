"""Find out whether a remote serves the ranges that are requested of it: some, such as plain web servers, do not."""

from __future__ import annotations

import os
from collections.abc import Mapping

from rm360_async.download.ranges.discovery import HEAD_BYTES
from rm360_async.download.ranges.range_client import RangeClient, RangeSource
from rm360_async.system.spans import Span
from rm360_async.system.sparse_file import SparseFile

_REPEATED: Span = (HEAD_BYTES // 2, HEAD_BYTES // 2 + 1024)


class RangesUnsupported(Exception):
    """The remote sent other bytes than were requested of the file at `path`."""

    def __init__(self, path: str) -> None:
        super().__init__(f"the remote does not serve ranges of {path}: it sent other bytes than were requested")
        self.path = path


class _Buffer:
    """Keeps the bytes of one range."""

    def __init__(self) -> None:
        self.bytes = b""

    def write(self, offset: int, data: bytes) -> None:
        self.bytes += data


def probe_range_support(client: RangeClient, files: Mapping[str, SparseFile]) -> None:
    """Download the start of each file, by its path on the remote, and a part of it a second time.

    Raises RangesUnsupported when the two differ, and RangeRefused.
    """
    buffers = {path: _Buffer() for path in files}
    starts = [
        (RangeSource(path, file), gap)
        for path, file in files.items()
        for gap in file.missing(0, min(HEAD_BYTES, file.size))
    ]
    repeated = [
        (RangeSource(path, buffers[path]), _REPEATED) for path, file in files.items() if file.size >= HEAD_BYTES
    ]
    client.fetch([*starts, *repeated])
    for path, file in files.items():
        received = buffers[path].bytes
        if received != os.pread(file.descriptor, len(received), _REPEATED[0]):
            raise RangesUnsupported(path)
