"""What can go wrong inside HDF5, in one place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import h5py

H5 = Any
"""An object of h5py, which has no types."""

HDF5_VERSION: str = h5py.version.hdf5_version
"""The version of the HDF5 library that h5py brings."""

_NAMED = 20
"""How many odd names are told one by one."""

HDF5_ERRORS = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)
"""What h5py raises for a damaged file; UnicodeDecodeError is a ValueError, KeyError a LookupError."""


class UnreadableData(Exception):
    """Something stored that cannot or must not be read; `reason` is a phrase for a person."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@contextmanager
def asking_hdf5(what: str) -> Iterator[None]:
    """Turn whatever HDF5 raises in the block into a UnreadableData: "`what` cannot be read: ..."."""
    try:
        yield
    except HDF5_ERRORS as error:
        raise UnreadableData(f"{what} cannot be read: {words_of(error)}") from error


def words_of(error: BaseException) -> str:
    """Return an error's words on one line, bounded."""
    said = error.args[0] if isinstance(error, KeyError) and error.args else error  # str(KeyError) has quotes
    return printable(" ".join(str(said).split()), 200) or type(error).__name__


def shown(name: str) -> str:
    """Return a stored name fit for a message: control characters escaped, bounded."""
    return repr(name if len(name) <= 40 else name[:37] + "...")


def named(names: Sequence[str], what: str, place: str = "") -> list[str]:
    """Return a sentence for each of the first names that are not `what`, and one for the rest."""
    told = [f"{place}{shown(name)} is not a {what}" for name in names[:_NAMED]]
    return told + [f"{place}... and {len(names) - _NAMED} more: not a {what}"] * (len(names) > _NAMED)


def printable(text: str, most: int) -> str:
    """Return text from a file for one line of a log or a terminal: escape sequences become visible, bounded."""
    short = text if len(text) <= most else text[: most - 3] + "..."
    return short if short.isprintable() else repr(short)[1:-1]


def require_here(dataset: H5) -> None:
    """Refuse a dataset whose values lie in other files or datasets.

    To be asked before its shape: for the shape of a growing virtual dataset HDF5 opens the files that it
    names, and such a name may be a pipe on which we would hang.
    """
    with asking_hdf5("its storage"):
        properties = dataset.get_create_plist()
        elsewhere = properties.get_layout() == h5py.h5d.VIRTUAL or properties.get_external_count() > 0
    if elsewhere:
        raise UnreadableData("is stored outside of this file, which is not followed")
