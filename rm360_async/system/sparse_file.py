"""A file of which only some bytes are here: a sparse file and the list of its ranges that have arrived.

Theory of operation. The sparse file has the size of the remote's, so every offset in it is right and the disk
holds only what was fetched. Beside it the map lists each range with a hash of its bytes, appended after the
bytes were written. Nothing has to be synced: whoever opens the file to go on reads every listed range again and
believes only what the hash confirms, so neither a kill nor a power cut between the two can lie to us.

A reader that needs bytes which are not here gets an error, and the range is noted as wanted. So whatever reads
a file can be run on a file that is not there yet: once to learn what it lacks, again when that has arrived, until
nothing is wanted any more. Each round fetches all that was wanted at once, which is what makes a slow line bearable.
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

from rm360_async.system.fault_points import reach
from rm360_async.system.hashing import hash_of
from rm360_async.system.spans import Span, SpanSet

SUFFIX = ".sparse"
_MAP = ".map"
_ENTRY = struct.Struct("<QQ16s")
_CHUNK = 4 * 2**20
_INDEX_BLOCK = 4096
"""Bytes of an index are wanted in blocks of this size: HDF5 asks for a few hundred, and for its neighbours next."""
_TREE = struct.Struct("<4sBBH16x")
_TREE_BYTES = 544
"""Of a node of HDF5's version 1 B-tree for groups with the usual rank; its leaves (SNOD) have 328."""
_MOST_CHILDREN = 64


def is_sparse(path: Path | str) -> bool:
    """Tell whether a path is that of a sparse file, by its name."""
    return str(path).endswith(SUFFIX)


def map_path(path: Path) -> Path:
    """Return the place of the map beside a sparse file."""
    return path.with_name(path.name + _MAP)


class MissingBytes(OSError):
    """Bytes that are not here were asked for; they are noted as wanted."""


class SparseFile:
    """A sparse file; a context manager. `present` is here; `index` and `data` is what readers wanted and lacked.

    `size`: that of the remote's file, to make or to go on with it; None opens one only to read, and believes its
    map: then whoever filled it is this very boot's. Raises OSError. `write` may be called from several threads,
    while one other asks what is here.
    """

    def __init__(self, path: Path, size: int | None = None) -> None:
        self.path = path
        self.present, self.requested_index, self.requested_data = SpanSet(), SpanSet(), SpanSet()
        self._lock = threading.Lock()
        self._map = -1
        flags = os.O_CLOEXEC | os.O_NOFOLLOW
        self.descriptor = os.open(path, flags | (os.O_RDONLY if size is None else os.O_RDWR | os.O_CREAT), 0o666)
        try:
            if size is not None:
                os.ftruncate(self.descriptor, size)
                self._map = os.open(map_path(path), flags | os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            self.size = os.fstat(self.descriptor).st_size
            reach("sparse file opened")
            self._read_map(proving=size is not None)
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
        """Let go of the file; what was written stays."""
        for descriptor in (self.descriptor, self._map):
            if descriptor >= 0:
                os.close(descriptor)
        self.descriptor = self._map = -1

    def write(self, offset: int, data: bytes) -> None:
        """Keep bytes that have arrived."""
        view = memoryview(data)
        while view:
            view = view[os.pwrite(self.descriptor, view, offset + len(data) - len(view)) :]
        reach("range written")
        entry = _ENTRY.pack(offset, len(data), hash_of(data))
        with self._lock:
            self._append(entry)
            self.present.add(offset, offset + len(data))
        reach("range recorded")

    def request(self, start: int, end: int, *, index: bool) -> bool:
        """Note a range as wanted unless it is here; tell whether it is. Of the index whole blocks are wanted."""
        end = min(end, self.size)
        with self._lock:
            if self.present.covers(start, end):
                return True
        wanted = self.requested_index if index else self.requested_data
        if index:
            start -= start % _INDEX_BLOCK
            end = min(self.size, -(-end // _INDEX_BLOCK) * _INDEX_BLOCK)
        for gap in self.missing(start, end):
            wanted.add(*gap)
        return False

    def present_spans(self) -> list[Span]:
        """Return the spans that are here, in order."""
        with self._lock:
            return list(self.present)

    def missing(self, start: int, end: int) -> list[Span]:
        """Return what of a span is not here, in order."""
        with self._lock:
            return self.present.missing(start, end)

    def clear_requests(self) -> None:
        """Empty the lists of what was wanted, for another round."""
        self.requested_index, self.requested_data = SpanSet(), SpanSet()

    def _append(self, entries: bytes) -> None:
        """Write to the end of the map; a short write goes on where it stopped."""
        view = memoryview(entries)
        while view:
            view = view[os.write(self._map, view) :]

    def _read_map(self, *, proving: bool) -> None:
        with map_path(self.path).open("rb") as file:
            entries = file.read()
        whole = entries[: len(entries) - len(entries) % _ENTRY.size]
        kept = [entry for entry in _ENTRY.iter_unpack(whole) if not proving or self._is_so(*entry)]
        for offset, size, _ in kept:
            self.present.add(offset, min(offset + size, self.size))
        if proving and len(kept) * _ENTRY.size != len(entries):  # whoever only reads believes all that is in the map
            os.ftruncate(self._map, 0)
            self._append(b"".join(_ENTRY.pack(*entry) for entry in kept))

    def _is_so(self, offset: int, size: int, hashed: bytes) -> bool:
        if size > _CHUNK or offset + size > self.size:
            return False
        return hash_of(os.pread(self.descriptor, size, offset)) == hashed


class SparseReader(io.RawIOBase):
    """The sparse file as HDF5 reads it: a hole is an error, and is wanted.

    The nodes of HDF5's B-trees name all their children, which are read next, one after another; they are wanted
    together. That is a guess about the format which may only be wrong in what is fetched, never in what is read.
    """

    def __init__(self, sparse: SparseFile) -> None:
        self._sparse, self._at = sparse, 0

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer from where we stand; raises Hole."""
        start, size = self._at, min(len(buffer), max(0, self._sparse.size - self._at))
        if not self._sparse.request(start, start + size, index=True):
            raise MissingBytes("bytes that are not here")
        data = os.pread(self._sparse.descriptor, size, start)
        buffer[: len(data)] = data
        self._at = start + len(data)
        for child in _children(data):
            self._sparse.request(child, child + _TREE_BYTES, index=True)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to an offset from the start, here or the end."""
        self._at = offset + (0, self._at, self._sparse.size)[whence]
        return self._at

    def tell(self) -> int:
        """Return the offset where we stand."""
        return self._at

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def seekable(self) -> bool:
        """Tell that any offset can be gone to."""
        return True


def _children(node: bytes) -> Iterator[int]:
    """Yield the addresses of the children of a B-tree node of a group; nothing for any other bytes."""
    with suppress(struct.error):
        magic, kind, _, used = _TREE.unpack_from(node)
        if magic == b"TREE" and kind == 0 and 1 < used <= _MOST_CHILDREN:
            for number in range(used):  # key, child, key, child ...
                yield struct.unpack_from("<Q", node, _TREE.size + 8 + 16 * number)[0]
