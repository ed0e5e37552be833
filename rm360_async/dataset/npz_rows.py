"""Single rows of the arrays in an .npz: the albedos of one performance alone can be gigabytes.

An .npz is a zip. Its members are stored as they are, so a row has a fixed place in the file and is read with one
`pread`. Nothing stays open between calls, so an object can be used in threads, after a fork, and in another process.
"""

from __future__ import annotations

import os
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from rm360_async.dataset.errors import DamagedData

_LOCAL_HEADER_BYTES = 30
_FRAMES = "frames"
_READ_ERRORS = (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, struct.error, zipfile.BadZipFile)


@dataclass(frozen=True)
class _Member:
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class NpzRows:
    """The arrays of one .npz, read row by row; `names` are their names. Raises DamagedData."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file, zipfile.ZipFile(file) as archive:
                members = [(info.filename.removesuffix(".npy"), info) for info in archive.infolist()]
                self._members = {name: _read_header(archive, info) for name, info in members}
        except _READ_ERRORS as error:
            raise DamagedData(f"{path} cannot be read: {error}") from error
        self.names = tuple(self._members)

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an array."""
        return self._members[name].shape

    def array(self, name: str) -> NDArray[Any]:
        """Return a whole array."""
        return self._read(name, 0, None)

    def row(self, name: str, index: int) -> NDArray[Any]:
        """Return one entry along the first axis of an array."""
        return np.asarray(self._read(name, index, 1)[0])

    def _read(self, name: str, first: int, count: int | None) -> NDArray[Any]:
        try:
            member = self._members[name]
            rows = member.shape[:1] if count is None else (count,)
            shape = (*rows, *member.shape[1:])
            if count is not None and not 0 <= first < member.shape[0]:
                raise ValueError(f"{name} has no row {first}")
            row_bytes = int(np.prod(member.shape[1:])) * member.dtype.itemsize
            return _read_range(self.path, member.offset + first * row_bytes, shape, member.dtype)
        except _READ_ERRORS as error:
            raise DamagedData(f"{self.path} cannot be read: {error}") from error


class FrameArrays:
    """An .npz of a published folder whose arrays have a row for each frame; `rows` maps a frame's number to its row.

    Without the file there are no frames. Raises DamagedData.
    """

    def __init__(self, path: Path) -> None:
        self.rows: dict[int, int] = {}
        self._stored = NpzRows(path) if path.exists() else None
        if self._stored is not None:
            self.rows = _rows_by_frame(self._stored)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the arrays beside the frames."""
        return () if self._stored is None else tuple(name for name in self._stored.names if name != _FRAMES)

    def read(self, name: str, frame: int) -> NDArray[Any]:
        """Return the row of one array for one of `rows`."""
        assert self._stored is not None, "there are no frames"
        return self._stored.row(name, self.rows[frame])

    def read_all(self, name: str) -> dict[int, NDArray[Any]]:
        """Return the rows of one array by frame, read at once."""
        if self._stored is None:
            return {}
        values = self._stored.array(name)
        return {frame: values[row] for frame, row in self.rows.items()}


def _rows_by_frame(stored: NpzRows) -> dict[int, int]:
    if _FRAMES not in stored:
        raise DamagedData(f"{stored.path} cannot be read: it has no frame numbers")
    frames = stored.array(_FRAMES).reshape(-1).tolist()
    if any(stored.shape(name)[:1] != (len(frames),) for name in stored.names):
        raise DamagedData(f"{stored.path} cannot be read: its arrays have other lengths than its frames")
    return {int(frame): row for row, frame in enumerate(frames)}


def _read_header(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    """Return where the values of a member are in the file, their shape and type."""
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{info.filename} is compressed, unlike in a folder that rm360 published")
    with archive.open(info) as member:
        version = npy.read_magic(member)
        untyped: Any = npy  # the types of these two differ between releases of numpy
        read = untyped.read_array_header_1_0 if version == (1, 0) else untyped.read_array_header_2_0
        shape, fortran_order, dtype = read(member)
        header_bytes = member.tell()
    if fortran_order or dtype.hasobject:
        raise ValueError(f"{info.filename} is not a plain array")
    assert archive.fp is not None
    archive.fp.seek(info.header_offset)
    name_bytes, extra_bytes = struct.unpack("<HH", archive.fp.read(_LOCAL_HEADER_BYTES)[26:])
    return _Member(info.header_offset + _LOCAL_HEADER_BYTES + name_bytes + extra_bytes + header_bytes, shape, dtype)


def _read_range(path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    values = np.empty(shape, dtype)
    target = memoryview(values.reshape(-1).view(np.uint8).data)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        filled = 0
        while filled < len(target):
            count = os.preadv(descriptor, [target[filled:]], offset + filled)
            if not count:
                raise EOFError("the file ends before its values do")
            filled += count
    finally:
        os.close(descriptor)
    return values
