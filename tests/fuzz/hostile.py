"""Make a small intact .smc hostile: valid HDF5 that no honest program would write.

Each function of HOSTILE changes an open h5py file. `FuzzContext` has the randomness and a folder of files outside of
it: `other.smc`, `secret.jpg` and `pipe`, a FIFO on which a reader hangs. An extraction must end in time, within its
memory limit, and without having opened any of them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py

from fuzz.hdf5_edits import H5, FuzzContext
from fuzz.links import external_links, external_storage, hard_cycles, references, soft_cycles, virtual
from fuzz.sizes import bombs, deep_nesting, fat_attributes, hard_bomb, huge_claims, many_cameras, many_frames
from fuzz.values import PLACEHOLDER, SLASHED_NAMES, bad_numbers, odd_names, wrong_kinds


def make_hostile(path: Path, kind: str, context: FuzzContext) -> None:
    """Make the file at `path` hostile in one of the ways of HOSTILE, in place."""
    with h5py.File(path, "r+") as file:
        HOSTILE[kind](file, context)
    if kind == "odd_names":
        data = path.read_bytes()
        path.write_bytes(data.replace(PLACEHOLDER, context.random.choice(SLASHED_NAMES)))


def copy_in_format(source: Path, target: Path, libver: str) -> Path:
    """Copy a file object by object into another HDF5 format, e.g. "latest" (checksums, dense groups)."""
    with h5py.File(source, "r") as old, h5py.File(target, "w", libver=libver) as new:
        new.attrs.update(dict(old.attrs))
        for name in old:
            old.copy(name, new)
    return target


HOSTILE: dict[str, Callable[[H5, FuzzContext], None]] = {
    function.__name__: function
    for function in (
        soft_cycles,
        external_links,
        hard_cycles,
        hard_bomb,
        huge_claims,
        virtual,
        external_storage,
        bombs,
        odd_names,
        many_cameras,
        many_frames,
        wrong_kinds,
        deep_nesting,
        fat_attributes,
        bad_numbers,
        references,
    )
}
"""Every way to make a file hostile, by name."""
