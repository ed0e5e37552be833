"""Walk from group to group by hard links only.

A soft link may point anywhere in the file (also in circles), an external link at any file of this machine;
neither belongs in an .smc, so both are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import h5py

from rm360_async.smc.errors import H5, UnreadableData, asking_hdf5, shown

_MOST_NAMES = 100_000
"""In one group: 55 minutes of frames. Each name costs memory, and each that is no frame a line in the record."""


@dataclass(frozen=True)
class LinkEntry:
    """One name in a group, and whether a hard link stands behind it."""

    name: str
    hard: bool


def entries(group: H5, what: str) -> list[LinkEntry]:
    """Return the names of a group in HDF5's order, in one pass; UnreadableData when they cannot be read."""
    found: list[LinkEntry] = []

    def take(name: bytes, link: H5) -> bool | None:
        found.append(LinkEntry(name.decode("utf-8", "backslashreplace"), link.type == h5py.h5l.TYPE_HARD))
        return len(found) >= _MOST_NAMES or None

    with asking_hdf5(what):
        group.links.iterate(take, info=True)
    if len(found) >= _MOST_NAMES:
        raise UnreadableData(f"{what} holds more than {_MOST_NAMES} names")
    return found


def require_hard(group: H5, name: str) -> bool:
    """Tell whether the group has the name; UnreadableData when it is a soft or external link, or a path."""
    if "/" in name or name == ".":  # HDF5 would walk it, and follow whatever link is on the way
        raise UnreadableData(f"{shown(name)} is not a name")
    encoded = name.encode()
    with asking_hdf5(shown(name)):
        if not group.links.exists(encoded):
            return False
        hard = group.links.get_info(encoded).type == h5py.h5l.TYPE_HARD
    if not hard:
        raise UnreadableData(f"{shown(name)} is a link to elsewhere, which is not followed")
    return True


def open_group(root: H5, parts: Sequence[str]) -> H5 | None:
    """Return the group at a path below `root`, None when absent; UnreadableData for links and for datasets."""
    group = root
    for name in parts:
        if not require_hard(group, name):
            return None
        with asking_hdf5(f"group {shown(name)}"):
            group = h5py.h5g.open(group, name.encode())
    return group


def open_dataset(root: H5, parts: Sequence[str]) -> H5 | None:
    """Return the dataset at a path below `root`, None when absent; UnreadableData for links and for groups."""
    group = open_group(root, parts[:-1])
    if group is None or not require_hard(group, parts[-1]):
        return None
    with asking_hdf5(shown(parts[-1])):
        return h5py.h5d.open(group, parts[-1].encode())
