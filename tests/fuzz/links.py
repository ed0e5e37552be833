"""Files that point elsewhere: link cycles, links to other files, virtual datasets, external storage, references."""

from __future__ import annotations

import h5py
import numpy as np

from fuzz.hdf5_edits import H5, FuzzContext, outside_paths, random_paths, replace_object


def soft_cycles(file: H5, context: FuzzContext) -> None:
    """Soft links in cycles, or to other objects of the file."""
    for path in random_paths(file, context, 4):
        target = context.random.choice(("/Camera", path, ".", "..", "/Camera/25/color/0", "/nowhere", "/" + path))
        replace_object(file, path, h5py.SoftLink(target))


def external_links(file: H5, context: FuzzContext) -> None:
    """Links to other files: another .smc, a pipe that never answers, a device, the file itself."""
    for path in random_paths(file, context, 4):
        name = context.random.choice(
            (*outside_paths(context), file.filename, "/dev/zero", "/etc/passwd", "../../other.smc")
        )
        inner = context.random.choice(("/" + path, "/Camera/25", "/Camera/25/color/0", "/"))
        replace_object(file, path, h5py.ExternalLink(name, inner))


def hard_cycles(file: H5, context: FuzzContext) -> None:
    """Hard links to parent groups: an endless tree."""
    for path in random_paths(file, context, 4):
        parents = ["/", *(group for group in ("Camera", "Camera/25", "Camera/25/color") if group in file)]
        replace_object(file, path, file[context.random.choice(parents)])
    for camera in context.random.sample(range(10, 99), 3):
        replace_object(file, f"Camera/{camera}", file["/"])


def virtual(file: H5, context: FuzzContext) -> None:
    """Virtual datasets of other files or of one another, with and without an unlimited dimension."""
    for path in random_paths(file, context, 4):
        source = context.random.choice((*outside_paths(context), ".", file.filename, "/dev/zero"))
        inner = context.random.choice(("/Camera/25/color/0", "/" + path))
        replace_object(file, path, None)
        if context.random.random() < 0.6:
            put_growing_dataset(file, path, source, "/Camera/25/color/%b")
            continue
        layout = h5py.VirtualLayout(shape=(300,), dtype=np.uint8)
        layout[:] = h5py.VirtualSource(source, inner, shape=(300,))
        file.create_virtual_dataset(path, layout)


def put_growing_dataset(file: H5, path: str, source: str, pattern: str) -> None:
    """Write a virtual dataset whose length HDF5 gets by opening `source`; `%b` numbers its datasets."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    space = h5py.h5s.create_simple((300,), (h5py.h5s.UNLIMITED,))
    space.select_hyperslab((0,), (h5py.h5s.UNLIMITED,), (100,), (100,))
    properties.set_virtual(space, source.encode(), pattern.encode(), h5py.h5s.create_simple((100,)))
    parent = file.require_group(path.rpartition("/")[0] or "/")
    unlimited = h5py.h5s.create_simple((300,), (h5py.h5s.UNLIMITED,))
    h5py.h5d.create(parent.id, path.rpartition("/")[2].encode(), h5py.h5t.STD_U8LE, unlimited, properties)


def external_storage(file: H5, context: FuzzContext) -> None:
    """Datasets whose bytes are stored in other files."""
    for path in random_paths(file, context, 4):
        name = context.random.choice((*outside_paths(context), "/etc/passwd", "/dev/zero"))
        replace_object(file, path, None)
        shape, dtype = context.random.choice((((200,), "u1"), ((73, 3), "f8"), ((3, 3), "f8")))
        file.create_dataset(path, shape, dtype, external=[(name, 0, h5py.h5f.UNLIMITED)])


def references(file: H5, context: FuzzContext) -> None:
    """Datasets of references and of committed variable-length types instead of bytes."""
    file["named"] = h5py.vlen_dtype(np.uint8)
    for path in random_paths(file, context, 4):
        replace_object(file, path, None)
        if context.random.random() < 0.5:
            file.create_dataset(path, data=[file.ref] * 3, dtype=h5py.ref_dtype)
        else:
            file.create_dataset(path, (4,), dtype=file["named"])[0] = np.arange(9, dtype=np.uint8)
