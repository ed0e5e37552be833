"""Write .npz and .npy files, with one array in memory at a time, that old and new versions of numpy can read."""

from __future__ import annotations

import pickle
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import IO, Any, TypeVar

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

_NEW_NAME = b"cnumpy._core.multiarray\n_reconstruct\n"
_OLD_NAME = b"cnumpy.core.multiarray\n_reconstruct\n"


class NpzWriter:
    """A context manager that writes the members of an uncompressed .npz one after another."""

    def __init__(self, file: IO[bytes]) -> None:
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True)

    def __enter__(self) -> NpzWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._zip.close()
            return
        with suppress(OSError, ValueError):  # the file is removed anyway, and `error` says why
            self._zip.close()

    def add(self, name: str, values: NDArray[Any]) -> None:
        """Write one array."""
        self.add_stacked(name, values.shape, values.dtype, (values,))

    def add_stacked(
        self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], pieces: Iterable[NDArray[Any]]
    ) -> None:
        """Write one array of `shape` from consecutive `pieces` along its first axis."""
        header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        # ZipInfo has a fixed date, so the same source gives the same bytes
        with self._zip.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
            npy.write_array_header_1_0(member, header)
            for piece in pieces:
                member.write(np.ascontiguousarray(piece, dtype).tobytes())


def write_npz(file: IO[bytes], arrays: dict[str, NDArray[Any]]) -> None:
    """Write an .npz that holds `arrays` by name."""
    with NpzWriter(file) as archive:
        for name, values in arrays.items():
            archive.add(name, values)


def write_pickled(file: IO[bytes], value: object) -> None:
    """Write a .npy that holds a pickled Python value, as `np.save(path, value, allow_pickle=True)` does.

    numpy 2 pickles arrays with a module name that numpy before 1.26 does not have. Every numpy has the older
    name, so the older one is written.
    """
    boxed = np.empty((), object)
    boxed[()] = value
    npy.write_array_header_1_0(file, npy.header_data_from_array_1_0(boxed))
    file.write(pickle.dumps(boxed, protocol=3).replace(_NEW_NAME, _OLD_NAME))


Shape = TypeVar("Shape")


def most_common(shapes: Mapping[int, Shape]) -> Shape | None:
    """Return the most common shape; on a tie the first in `shapes`, and None when there is none."""
    counts = Counter(shapes.values())
    return counts.most_common(1)[0][0] if counts else None


def split_by_shape(shapes: Mapping[int, Shape]) -> tuple[list[int], list[int]]:
    """Return the frames that have the most common shape, and the other frames; both in order."""
    common_shape = most_common(shapes)
    alike = sorted(frame for frame, shape in shapes.items() if shape == common_shape)
    return alike, sorted(set(shapes) - set(alike))
