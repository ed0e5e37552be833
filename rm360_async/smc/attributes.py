"""Attributes as plain Python values."""

from __future__ import annotations

import h5py
import numpy as np

from rm360_async.smc.errors import H5, HDF5_ERRORS, UnreadableData, shown, words_of

_LARGEST = 64 * 1024
_MOST = 1000


def attributes(group: H5) -> tuple[dict[str, object], list[str]]:
    """Return a group's attributes (str, int, float, bool, None, lists of these), and why others are missing."""
    values: dict[str, object] = {}
    missing: list[str] = []
    try:
        names = list(_names(group))
    except HDF5_ERRORS as error:
        return {}, [f"the attributes cannot be read: {words_of(error)}"]
    for name in names:
        try:
            values[name.decode("utf-8", "backslashreplace")] = _value(group, name)
        except UnreadableData as refusal:
            missing.append(f"attribute {_shown(name)} {refusal.reason}")
        except HDF5_ERRORS as error:
            missing.append(f"attribute {_shown(name)} cannot be read: {words_of(error)}")
    return values, missing


def _shown(name: bytes) -> str:
    return shown(name.decode("utf-8", "backslashreplace"))


def _names(group: H5) -> list[bytes]:
    count = h5py.h5a.get_num_attrs(group)
    if count > _MOST:
        raise ValueError(f"there are {count} of them")
    return [h5py.h5a.open(group, index=index).name for index in range(count)]


def _value(group: H5, name: bytes) -> object:
    attribute = h5py.h5a.open(group, name)
    if attribute.shape is None or 0 in attribute.shape:  # h5py cannot tell the size of nothing
        return None
    size = attribute.get_storage_size()
    if size > _LARGEST:
        raise UnreadableData(f"has {size} bytes, more than any attribute of an .smc")
    value = plain(h5py.AttributeManager(h5py.Group(group))[name])
    if len(str(value)) > _LARGEST:  # texts of variable length lie elsewhere and are not in the storage size
        raise UnreadableData(f"has {len(str(value))} characters, more than any attribute of an .smc")
    return value


def plain(value: object) -> object:
    """Return a value as plain Python: bytes to str, numpy scalars to numbers, arrays to lists, Empty to None."""
    if isinstance(value, h5py.Empty):
        return None
    if isinstance(value, (bytes, np.bytes_)):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, (np.ndarray, np.generic)):
        inner = value.tolist()  # of a longdouble that is a longdouble again
        return float(inner) if isinstance(inner, np.longdouble) else plain(inner)
    if isinstance(value, (list, tuple)):
        items = [plain(item) for item in value]
        return items[0] if len(items) == 1 and not isinstance(items[0], list) else items
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise UnreadableData(f"is of a kind that no .smc has ({type(value).__name__})")
