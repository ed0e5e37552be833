"""Files that point elsewhere: links in circles and to other files, views, data outside, references."""

from __future__ import annotations

import h5py
import numpy as np

from fuzz.trap import H5, Trap, decoy_paths, replace, some_places


def soft_cycles(file: H5, trap: Trap) -> None:
    """Put soft links that run in circles or point elsewhere in the file."""
    for place in some_places(file, trap, 4):
        target = trap.random.choice(("/Camera", place, ".", "..", "/Camera/25/color/0", "/nowhere", "/" + place))
        replace(file, place, h5py.SoftLink(target))


def external_links(file: H5, trap: Trap) -> None:
    """Put links to other files: a decoy, a pipe that never answers, a device, the file itself."""
    for place in some_places(file, trap, 4):
        name = trap.random.choice((*decoy_paths(trap), file.filename, "/dev/zero", "/etc/passwd", "../../decoy.smc"))
        inner = trap.random.choice(("/" + place, "/Camera/25", "/Camera/25/color/0", "/"))
        replace(file, place, h5py.ExternalLink(name, inner))


def hard_cycles(file: H5, trap: Trap) -> None:
    """Put hard links to groups above: a tree without an end."""
    for place in some_places(file, trap, 4):
        above = ["/", *(group for group in ("Camera", "Camera/25", "Camera/25/color") if group in file)]
        replace(file, place, file[trap.random.choice(above)])
    for camera in trap.random.sample(range(10, 99), 3):
        replace(file, f"Camera/{camera}", file["/"])


def virtual(file: H5, trap: Trap) -> None:
    """Put datasets that are views of other files or of one another, with and without a growing side."""
    for place in some_places(file, trap, 4):
        source = trap.random.choice((*decoy_paths(trap), ".", file.filename, "/dev/zero"))
        inner = trap.random.choice(("/Camera/25/color/0", "/" + place))
        replace(file, place, None)
        if trap.random.random() < 0.6:
            put_growing_view(file, place, source, "/Camera/25/color/%b")
            continue
        layout = h5py.VirtualLayout(shape=(300,), dtype=np.uint8)
        layout[:] = h5py.VirtualSource(source, inner, shape=(300,))
        file.create_virtual_dataset(place, layout)


def put_growing_view(file: H5, place: str, source: str, pattern: str) -> None:
    """Write a virtual dataset whose length HDF5 learns by opening `source`; `%b` counts its datasets."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    space = h5py.h5s.create_simple((300,), (h5py.h5s.UNLIMITED,))
    space.select_hyperslab((0,), (h5py.h5s.UNLIMITED,), (100,), (100,))
    properties.set_virtual(space, source.encode(), pattern.encode(), h5py.h5s.create_simple((100,)))
    parent = file.require_group(place.rpartition("/")[0] or "/")
    endless = h5py.h5s.create_simple((300,), (h5py.h5s.UNLIMITED,))
    h5py.h5d.create(parent.id, place.rpartition("/")[2].encode(), h5py.h5t.STD_U8LE, endless, properties)


def external_storage(file: H5, trap: Trap) -> None:
    """Put datasets whose bytes lie in other files."""
    for place in some_places(file, trap, 4):
        name = trap.random.choice((*decoy_paths(trap), "/etc/passwd", "/dev/zero"))
        replace(file, place, None)
        shape, dtype = trap.random.choice((((200,), "u1"), ((73, 3), "f8"), ((3, 3), "f8")))
        file.create_dataset(place, shape, dtype, external=[(name, 0, h5py.h5f.UNLIMITED)])


def references(file: H5, trap: Trap) -> None:
    """Put datasets of references and of committed, variable-length types where bytes belong."""
    file["named"] = h5py.vlen_dtype(np.uint8)
    for place in some_places(file, trap, 4):
        replace(file, place, None)
        if trap.random.random() < 0.5:
            file.create_dataset(place, data=[file.ref] * 3, dtype=h5py.ref_dtype)
        else:
            file.create_dataset(place, (4,), dtype=file["named"])[0] = np.arange(9, dtype=np.uint8)
