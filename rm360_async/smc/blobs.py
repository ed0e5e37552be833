"""Where the bytes of one encoded picture are stored."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, replace

import h5py
import numpy as np

from rm360_async.smc.errors import H5, UnreadableData, hdf5_errors, require_in_file
from rm360_async.system.sparse_file import MissingBytes, SparseFile

MAX_BLOB_BYTES = 64 * 2**20
"""No encoded picture of 2048 x 2448 px comes near this; a larger claim is damage."""


@dataclass(frozen=True)
class Blob:
    """The bytes of one picture: a range of an open file, or `data` if they are not contiguous there."""

    descriptor: int
    offset: int
    size: int
    data: bytes | memoryview | None = None
    sparse: SparseFile | None = None
    """The sparse file, if some of the bytes are not present in it."""

    def read(self, start: int = 0, size: int | None = None) -> bytes:
        """Return `size` bytes from `start` (all by default).

        Raises EOFError if the file has become shorter, and Hole for bytes that have not arrived.
        """
        size = self.size - start if size is None else min(size, self.size - start)
        if self.data is not None:
            return bytes(self.data[start : start + size])
        data = bytearray(size)
        self._fill(memoryview(data), start)
        return bytes(data)

    def read_into(self, buffer: memoryview) -> Blob:
        """Return this blob with its bytes as `data`, read into the buffer, which must be large enough for them.

        Reusing a buffer takes a quarter of the time of fresh memory, whose pages must first be allocated.
        """
        if self.data is not None:
            return self
        self._fill(buffer[: self.size], 0)
        return replace(self, data=buffer[: self.size])

    def _fill(self, buffer: memoryview, start: int) -> None:
        offset = self.offset + start
        if self.sparse is not None and not self.sparse.request(offset, offset + len(buffer), index=True):
            raise MissingBytes(errno.ENODATA, "bytes that were not downloaded")
        while buffer:  # one call reads at most 2 GiB, and less when interrupted
            count = os.preadv(self.descriptor, [buffer], offset)
            if not count:
                raise EOFError("the .smc became shorter while it was read")
            offset, buffer = offset + count, buffer[count:]


def locate_blob(dataset: H5, descriptor: int, file_size: int) -> Blob:
    """Return where a dataset's bytes are stored.

    Raises UnreadableData for a dataset that is not an encoded picture (not bytes, not one-dimensional), is empty or was
    never written, claims more than MAX_BLOB_BYTES or more than it stores, or ends beyond the end of the file.
    """
    with hdf5_errors("its entry"):
        offset = dataset.get_offset()
    if offset is None:  # not contiguous in this file
        require_in_file(dataset)
    with hdf5_errors("its entry"):
        width, shape = dataset.get_type().get_size(), dataset.shape
        stored = dataset.get_storage_size()
    size = _blob_size(width, shape)
    if stored == 0:
        raise UnreadableData("was never written")
    if offset is None:
        return Blob(descriptor, 0, size, _read_through_hdf5(dataset, size))
    if stored != size:
        raise UnreadableData(f"claims {size} bytes, but stores {stored}")
    if offset + size > file_size:
        raise UnreadableData(f"reaches beyond the end of the file (byte {offset + size} of {file_size})")
    return Blob(descriptor, offset, size)


def _blob_size(width: int, shape: tuple[int, ...] | None) -> int:
    """Return the number of bytes of an (N,) or (N, 1) array of bytes."""
    if width != 1:
        raise UnreadableData(f"holds values of {width} bytes, not the bytes of a picture")
    if shape is None or 0 in shape:
        raise UnreadableData("is empty")
    size = max(shape, default=1)
    if sum(side > 1 for side in shape) > 1:
        raise UnreadableData(f"has shape {shape}: pixels, not the bytes of an encoded picture")
    if size > MAX_BLOB_BYTES:
        raise UnreadableData(f"claims {size} bytes, more than any picture has")
    return size


def _read_through_hdf5(dataset: H5, size: int) -> bytes:
    """Return the bytes of a chunked, compressed or compact dataset."""
    values = np.empty(size, np.uint8)
    with hdf5_errors("its data"):
        # the stored type as memory type: int8 must not be converted (clipped)
        dataset.read(h5py.h5s.create_simple((size,)), h5py.h5s.ALL, values, dataset.get_type())
    return values.tobytes()
