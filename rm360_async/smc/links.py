"""Walk from group to group by hard links only.

A soft link may point anywhere in the file, also in circles, an external link to any file of this machine; neither
belongs in an .smc, so both are unreadable data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import h5py

from rm360_async.smc.errors import H5, UnreadableData, hdf5_errors, quoted_name

_MAX_NAMES = 100_000
"""In one group: 55 minutes of frames. Each name costs memory, and each that is not a frame a line in the record."""


@dataclass(frozen=True)
class LinkEntry:
    """One name in a group, and whether it is a hard link."""

    name: str
    hard: bool


def list_entries(group: H5, what: str) -> list[LinkEntry]:
    """Return the entries of a group in HDF5's order, read in one pass; UnreadableData if they cannot be read."""
    entries: list[LinkEntry] = []

    def add_entry(name: bytes, link: H5) -> bool | None:
        entries.append(LinkEntry(name.decode("utf-8", "backslashreplace"), link.type == h5py.h5l.TYPE_HARD))
        return len(entries) >= _MAX_NAMES or None

    with hdf5_errors(what):
        group.links.iterate(add_entry, info=True)
    if len(entries) >= _MAX_NAMES:
        raise UnreadableData(f"{what} holds more than {_MAX_NAMES} names")
    return entries


def has_hard_link(group: H5, name: str) -> bool:
    """Return True if the group has a hard link of this name; UnreadableData for another link, or for a path."""
    if "/" in name or name == ".":  # HDF5 would follow every link on this path
        raise UnreadableData(f"{quoted_name(name)} is not a name")
    encoded = name.encode()
    with hdf5_errors(quoted_name(name)):
        if not group.links.exists(encoded):
            return False
        is_hard = group.links.get_info(encoded).type == h5py.h5l.TYPE_HARD
    if not is_hard:
        raise UnreadableData(f"{quoted_name(name)} is a link to elsewhere, which is not followed")
    return True


def open_group(root: H5, parts: Sequence[str]) -> H5 | None:
    """Return the group at a path below `root`, None if it is absent; UnreadableData for links and for datasets."""
    group = root
    for name in parts:
        if not has_hard_link(group, name):
            return None
        with hdf5_errors(f"group {quoted_name(name)}"):
            group = h5py.h5g.open(group, name.encode())
    return group


def open_dataset(root: H5, parts: Sequence[str]) -> H5 | None:
    """Return the dataset at a path below `root`, None if it is absent; UnreadableData for links and for groups."""
    group = open_group(root, parts[:-1])
    if group is None or not has_hard_link(group, parts[-1]):
        return None
    with hdf5_errors(quoted_name(parts[-1])):
        return h5py.h5d.open(group, parts[-1].encode())
