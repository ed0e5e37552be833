"""Attributes as plain Python values."""

from __future__ import annotations

import h5py
import numpy as np

from rm360_async.smc.errors import H5, HDF5_ERRORS, UnreadableData, hdf5_message, quoted_name

_MAX_ATTRIBUTE_BYTES = 64 * 1024
_MAX_ATTRIBUTES = 1000


def read_attributes(group: H5) -> tuple[dict[str, object], list[str]]:
    """Return a group's attributes (str, int, float, bool, None, lists of these), and why others are missing."""
    values: dict[str, object] = {}
    missing: list[str] = []
    try:
        names = list(_attribute_names(group))
    except HDF5_ERRORS as error:
        return {}, [f"the attributes cannot be read: {hdf5_message(error)}"]
    for name in names:
        try:
            values[name.decode("utf-8", "backslashreplace")] = _read_value(group, name)
        except UnreadableData as error:
            missing.append(f"attribute {_quoted_name(name)} {error.reason}")
        except HDF5_ERRORS as error:
            missing.append(f"attribute {_quoted_name(name)} cannot be read: {hdf5_message(error)}")
    return values, missing


def _quoted_name(name: bytes) -> str:
    return quoted_name(name.decode("utf-8", "backslashreplace"))


def _attribute_names(group: H5) -> list[bytes]:
    count = h5py.h5a.get_num_attrs(group)
    if count > _MAX_ATTRIBUTES:
        raise ValueError(f"there are {count} of them")
    return [h5py.h5a.open(group, index=index).name for index in range(count)]


def _read_value(group: H5, name: bytes) -> object:
    attribute = h5py.h5a.open(group, name)
    if attribute.shape is None or 0 in attribute.shape:  # h5py cannot give the size of an empty one
        return None
    size = attribute.get_storage_size()
    if size > _MAX_ATTRIBUTE_BYTES:
        raise UnreadableData(f"has {size} bytes, more than any attribute of an .smc")
    value = to_plain_value(h5py.AttributeManager(h5py.Group(group))[name])
    if len(str(value)) > _MAX_ATTRIBUTE_BYTES:  # strings of variable length are not in the storage size
        raise UnreadableData(f"has {len(str(value))} characters, more than any attribute of an .smc")
    return value


def to_plain_value(value: object) -> object:
    """Return a value as plain Python: bytes to str, numpy scalars to numbers, arrays to lists, Empty to None."""
    if isinstance(value, h5py.Empty):
        return None
    if isinstance(value, (bytes, np.bytes_)):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, (np.ndarray, np.generic)):
        inner = value.tolist()  # the item of a longdouble is a longdouble again
        return float(inner) if isinstance(inner, np.longdouble) else to_plain_value(inner)
    if isinstance(value, (list, tuple)):
        items = [to_plain_value(item) for item in value]
        return items[0] if len(items) == 1 and not isinstance(items[0], list) else items
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise UnreadableData(f"has a type that no .smc uses ({type(value).__name__})")
