"""A file of which only some bytes are present: a sparse file and the list of the ranges that have arrived.

Theory of operation. The sparse file has the size of the remote's, so every offset in it is right and the disk holds
only what was downloaded. Beside it, the map lists each range with a hash of its bytes; an entry is appended after the
bytes were written. Nothing has to be synced: a process that resumes the file reads every listed range again and
trusts only what the hash confirms, so neither a kill nor a power cut between the two can do harm. A file whose md5 is
compared in the end is not read twice for that: only if the md5 differs are the ranges verified, and the wrong ones
dropped.

A reader that needs bytes which are not present gets an error, and the range is noted as requested. So any code that
reads a file can be run on a file that has not arrived: once to learn what it lacks, again when that has arrived, until
it requests nothing more. Each round downloads all that was requested at once, which makes a slow line bearable.
"""

from __future__ import annotations

import io
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from rm360_async.system.disk_threads import stop_if_cancelled
from rm360_async.system.fault_points import reach
from rm360_async.system.files import write_all
from rm360_async.system.hashing import hash_of
from rm360_async.system.spans import Span, SpanSet

SUFFIX = ".sparse"
_MAP_SUFFIX = ".map"
_ENTRY = struct.Struct("<QQ16s")
_MAX_ENTRY_BYTES = 4 * 2**20
_INDEX_BLOCK_BYTES = 4096
"""An index is requested in blocks of this size: HDF5 reads a few hundred bytes, and their neighbours next."""
_NODE_HEADER = struct.Struct("<4sBBH16x")
_NODE_BYTES = 544
"""Size of a node of HDF5's version 1 B-tree for groups with the usual rank; its leaves (SNOD) have 328 bytes."""
_MAX_CHILDREN = 64


def is_sparse(path: Path | str) -> bool:
    """Return True if a path is that of a sparse file, by its name."""
    return str(path).endswith(SUFFIX)


def map_path(path: Path) -> Path:
    """Return the path of the map beside a sparse file."""
    return path.with_name(path.name + _MAP_SUFFIX)


def write_prefix_map(prefix: Path, path: Path) -> None:
    """Write the map of a file of which everything up to its end has arrived, and nothing after it."""
    with prefix.open("rb") as file, path.open("wb") as entries:
        offset = 0
        while chunk := file.read(_MAX_ENTRY_BYTES):
            entries.write(_ENTRY.pack(offset, len(chunk), hash_of(chunk)))
            offset += len(chunk)


class MissingBytes(OSError):
    """Bytes that are not present were read; they are noted as requested."""


class SparseFile:
    """A sparse file; a context manager.

    `present` are the bytes that have arrived; `requested_index` and `requested_data` those that readers lacked, of
    HDF5's index and of the data that it names. `size` is that of the remote's file, to create or to resume it; None
    opens it only to read, and trusts its map, which a process since the last boot has written. `verify=False` trusts
    it too, for a file whose md5 will be compared. Raises OSError.
    `write` may be called from several threads while another one reads which spans are present.
    """

    def __init__(self, path: Path, size: int | None = None, *, verify: bool = True) -> None:
        self.path = path
        self.present, self.requested_index, self.requested_data = SpanSet(), SpanSet(), SpanSet()
        self._lock, self._map_lock = threading.Lock(), threading.Lock()
        self._map = -1
        flags = os.O_CLOEXEC | os.O_NOFOLLOW
        self.descriptor = os.open(path, flags | (os.O_RDONLY if size is None else os.O_RDWR | os.O_CREAT), 0o666)
        try:
            if size is not None:
                os.ftruncate(self.descriptor, size)
                self._map = os.open(map_path(path), flags | os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            self.size = os.fstat(self.descriptor).st_size
            reach("sparse file opened")
            self._read_map(verify=verify and size is not None)
            reach("map read")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> SparseFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and its map; what was written stays."""
        for descriptor in (self.descriptor, self._map):
            if descriptor >= 0:
                os.close(descriptor)
        self.descriptor = self._map = -1

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write bytes that have arrived, and enter them in the map."""
        remaining = memoryview(data)
        while remaining:
            written = os.pwrite(self.descriptor, remaining, offset + len(data) - len(remaining))
            remaining = remaining[written:]
        reach("range written")
        entry = _ENTRY.pack(offset, len(data), hash_of(data))
        with self._map_lock:
            write_all(self._map, entry)
        with self._lock:  # never held while the disk is waited for
            self.present.add(offset, offset + len(data))
        reach("range recorded")

    def request(self, start: int, end: int, *, index: bool) -> bool:
        """Return True if a span is present; otherwise note it as requested, in whole blocks if it is of the index."""
        end = min(end, self.size)
        with self._lock:
            if self.present.covers(start, end):
                return True
        requested = self.requested_index if index else self.requested_data
        if index:
            start -= start % _INDEX_BLOCK_BYTES
            end = min(self.size, -(-end // _INDEX_BLOCK_BYTES) * _INDEX_BLOCK_BYTES)
        for gap in self.missing(start, end):
            requested.add(*gap)
        return False

    def present_spans(self) -> list[Span]:
        """Return the spans that are present, in order."""
        with self._lock:
            return list(self.present)

    def missing(self, start: int, end: int) -> list[Span]:
        """Return the parts of a span that are not present, in order."""
        with self._lock:
            return self.present.missing(start, end)

    @property
    def prefix_bytes(self) -> int:
        """Return how many bytes are present from the start of the file on without a gap."""
        with self._lock:
            first = next(iter(self.present), (0, 0))
        return first[1] if first[0] == 0 else 0

    def reload(self) -> None:
        """Take up what another process has written since the file was opened to read."""
        self._read_map(verify=False)

    def drop_damaged(self) -> int:
        """Verify every range, and drop those that do not hold the bytes that arrived; return the bytes dropped."""
        before = self.present.total
        with self._lock:
            self.present = SpanSet()
        self._read_map(verify=True)
        return before - self.present.total

    def drop_all(self) -> None:
        """Drop everything that is present."""
        os.ftruncate(self._map, 0)
        with self._lock:
            self.present = SpanSet()

    def clear_requests(self) -> None:
        """Forget what was requested, for another round."""
        self.requested_index, self.requested_data = SpanSet(), SpanSet()

    def _read_map(self, *, verify: bool) -> None:
        with map_path(self.path).open("rb") as file:
            entries = file.read()
        whole = entries[: len(entries) - len(entries) % _ENTRY.size]
        intact = [entry for entry in _ENTRY.iter_unpack(whole) if not verify or self._is_intact(*entry)]
        for offset, size, _ in intact:
            self.present.add(offset, min(offset + size, self.size))
        if verify and len(intact) * _ENTRY.size != len(entries):
            os.ftruncate(self._map, 0)
            write_all(self._map, b"".join(_ENTRY.pack(*entry) for entry in intact))

    def _is_intact(self, offset: int, size: int, hashed: bytes) -> bool:
        stop_if_cancelled()  # gigabytes may have to be read
        if size > _MAX_ENTRY_BYTES or offset + size > self.size:
            return False
        return hash_of(os.pread(self.descriptor, size, offset)) == hashed


class SparseReader(io.RawIOBase):
    """The sparse file as HDF5 reads it: bytes that are not present raise MissingBytes and are requested.

    The nodes of HDF5's B-trees name all their children, which are read next, one after another; they are requested
    together. If that guess about the format is wrong, it changes what is downloaded, never what is read.
    """

    def __init__(self, sparse: SparseFile) -> None:
        self._sparse, self._position = sparse, 0

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer from the current position. Raises MissingBytes."""
        start, size = self._position, min(len(buffer), max(0, self._sparse.size - self._position))
        if not self._sparse.request(start, start + size, index=True):
            raise MissingBytes("bytes that are not present")
        data = os.pread(self._sparse.descriptor, size, start)
        buffer[: len(data)] = data
        self._position = start + len(data)
        for child in _children(data):
            self._sparse.request(child, child + _NODE_BYTES, index=True)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to an offset from the start, the current position or the end."""
        self._position = offset + (0, self._position, self._sparse.size)[whence]
        return self._position

    def tell(self) -> int:
        """Return the current position."""
        return self._position

    def readable(self) -> bool:
        """Return True: it can be read."""
        return True

    def seekable(self) -> bool:
        """Return True: it can be read from any offset."""
        return True


def _children(node: bytes) -> Iterator[int]:
    """Yield the addresses of the children of a B-tree node of a group; nothing for any other bytes."""
    with suppress(struct.error):
        magic, kind, _, used = _NODE_HEADER.unpack_from(node)
        if magic == b"TREE" and kind == 0 and 1 < used <= _MAX_CHILDREN:
            for number in range(used):  # key, child, key, child ...
                yield struct.unpack_from("<Q", node, _NODE_HEADER.size + 8 + 16 * number)[0]
