"""Write .npz and .npy files: one array in memory at a time, readable by old and new numpy."""

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
    """An uncompressed .npz whose members are written one after another; a context manager."""

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
        with suppress(OSError, ValueError):  # the file is given up; what broke it is already on its way
            self._zip.close()

    def add(self, name: str, values: NDArray[Any]) -> None:
        """Write one array."""
        self.add_stacked(name, values.shape, values.dtype, (values,))

    def add_stacked(
        self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], pieces: Iterable[NDArray[Any]]
    ) -> None:
        """Write one array of `shape`, given as consecutive pieces along its first axis."""
        header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        # a fixed date (that of ZipInfo), so that the same source gives the same bytes
        with self._zip.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
            npy.write_array_header_1_0(member, header)
            for piece in pieces:
                member.write(np.ascontiguousarray(piece, dtype).tobytes())


def write_npz(file: IO[bytes], arrays: dict[str, NDArray[Any]]) -> None:
    """Write an .npz of a few arrays."""
    with NpzWriter(file) as archive:
        for name, values in arrays.items():
            archive.add(name, values)


def write_pickled(file: IO[bytes], value: object) -> None:
    """Write a .npy that holds a Python value, as `np.save(path, value, allow_pickle=True)` does.

    numpy 2 names its arrays' constructor by a module that numpy before 1.26 does not have; every numpy has
    the older name, so that one is written.
    """
    boxed = np.empty((), object)
    boxed[()] = value
    npy.write_array_header_1_0(file, npy.header_data_from_array_1_0(boxed))
    file.write(pickle.dumps(boxed, protocol=3).replace(_NEW_NAME, _OLD_NAME))


Shape = TypeVar("Shape")


def most_common(shapes: Mapping[int, Shape]) -> Shape | None:
    """Return the shape that most frames have, of equals the one seen first; None without frames."""
    counted = Counter(shapes.values())
    return counted.most_common(1)[0][0] if counted else None


def split(shapes: Mapping[int, Shape]) -> tuple[list[int], list[int]]:
    """Return the frames with the most common shape, in order, and the others."""
    usual = most_common(shapes)
    same = sorted(frame for frame, shape in shapes.items() if shape == usual)
    return same, sorted(set(shapes) - set(same))
