"""What can go wrong inside HDF5, in one place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

H5 = Any
"""An object of h5py, which has no types."""

HDF5_ERRORS = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)
"""What h5py raises for a damaged file; UnicodeDecodeError is a ValueError, KeyError a LookupError."""


class Refusal(Exception):
    """Something stored that cannot or must not be read; `reason` is a phrase for a person."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@contextmanager
def asking_hdf5(what: str) -> Iterator[None]:
    """Turn whatever HDF5 raises in the block into a Refusal: "`what` cannot be read: ..."."""
    try:
        yield
    except HDF5_ERRORS as error:
        raise Refusal(f"{what} cannot be read: {words_of(error)}") from error


def words_of(error: BaseException) -> str:
    """Return an error's words on one line, bounded."""
    said = error.args[0] if isinstance(error, KeyError) and error.args else error  # str(KeyError) has quotes
    text = " ".join(str(said).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."


def shown(name: str) -> str:
    """Return a stored name fit for a message: control characters escaped, bounded."""
    return repr(name if len(name) <= 40 else name[:37] + "...")
