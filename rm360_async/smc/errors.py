"""What can go wrong inside HDF5, in one place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import h5py

H5 = Any
"""An object of h5py, which has no types."""

HDF5_VERSION: str = h5py.version.hdf5_version
"""The version of the HDF5 library that h5py contains."""

HDF5_ERRORS = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)
"""What h5py raises for a damaged file; UnicodeDecodeError is a ValueError, KeyError a LookupError."""

_MAX_NAMES_SHOWN = 20
_MAX_NAME_CHARS = 40
_MAX_MESSAGE_CHARS = 200


class UnreadableData(Exception):
    """Stored data that cannot or must not be read; `reason` is a phrase for the user."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@contextmanager
def hdf5_errors(what: str) -> Iterator[None]:
    """Raise anything that HDF5 raises in the block as UnreadableData: "<what> cannot be read: <message>"."""
    try:
        yield
    except HDF5_ERRORS as error:
        raise UnreadableData(f"{what} cannot be read: {hdf5_message(error)}") from error


def hdf5_message(error: BaseException) -> str:
    """Return an error's message on one line, at most 200 characters long."""
    content = error.args[0] if isinstance(error, KeyError) and error.args else error  # str(KeyError) has quotes
    return one_line(" ".join(str(content).split()), _MAX_MESSAGE_CHARS) or type(error).__name__


def quoted_name(name: str) -> str:
    """Return a stored name for a message: in quotes, control characters escaped, shortened."""
    return repr(_shortened(name, _MAX_NAME_CHARS))


def unexpected_names(names: Sequence[str], what: str, prefix: str = "") -> list[str]:
    """Return a sentence for each of the first names that are not `what`, and one for the rest."""
    sentences = [f"{prefix}{quoted_name(name)} is not a {what}" for name in names[:_MAX_NAMES_SHOWN]]
    more = len(names) - _MAX_NAMES_SHOWN
    return [*sentences, f"{prefix}... and {more} more: not a {what}"] if more > 0 else sentences


def one_line(text: str, max_chars: int) -> str:
    """Return text from a file for one line of a log or a terminal: escape sequences made visible, shortened."""
    short = _shortened(text, max_chars)
    return short if short.isprintable() else repr(short)[1:-1]


def _shortened(text: str, max_chars: int) -> str:
    return text if len(text) <= max_chars else text[: max_chars - 3] + "..."


def require_in_file(dataset: H5) -> None:
    """Raise UnreadableData for a dataset whose values are stored in other files or datasets.

    To be called before its shape is read: for the shape of a growing virtual dataset HDF5 opens the files that it
    names, and such a name may be a pipe that never answers.
    """
    with hdf5_errors("its storage"):
        properties = dataset.get_create_plist()
        is_external = properties.get_layout() == h5py.h5d.VIRTUAL or properties.get_external_count() > 0
    if is_external:
        raise UnreadableData("is stored outside of this file, which is not followed")
