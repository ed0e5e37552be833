"""Files that are too large: huge shapes, decompression bombs, very many names, very deep groups, huge attributes."""

from __future__ import annotations

import zlib
from functools import cache
from typing import Any

import h5py
import numpy as np

from fuzz.hdf5_edits import H5, JPEG, FuzzContext, new_group, random_paths, replace_object


def hard_bomb(file: H5, context: FuzzContext) -> None:
    """One image (or one FLAME group) under thousands of names: small on disk, much to write."""
    color = new_group(file, "Camera/25/color")
    blob = np.zeros(2**20, np.uint8)
    blob[: len(JPEG)] = np.frombuffer(JPEG, np.uint8)
    color.create_dataset("0", data=blob, chunks=(2**20,), compression="gzip")
    if context.random.random() < 0.5:
        flame = new_group(file, "FLAME")
        flame.create_dataset("0/verts", data=np.ones((2**17,)), chunks=(2**17,), compression="gzip")
        color = flame
    for frame in range(1, 1000):
        color[str(frame)] = color["0"]


def huge_claims(file: H5, context: FuzzContext) -> None:
    """Arrays that no machine can hold, unwritten or partly written, and empty ones with a huge dimension."""
    shapes = ((10**12,), (10**12, 2), (2**59,), (0, 2**59), (2**28, 2**31), (2**40, 1), (3, 2**40), (2**28 - 1, 2))
    paths = ("Camera/00/audio/audio", "Camera/00/audio/sample_rate", "Keypoints3d/0", "Keypoints2d/25/0")
    more = ("Camera/25/color/0", "Camera/31/mask/1", "FLAME/0/verts", "Scan/vertex", "Scan/vertex_indices")
    for path in context.random.sample((*paths, *more, "Calibration/25/K", "UV_texture/0", "ScanMask/25"), 5):
        shape = context.random.choice(shapes)
        dtype = context.random.choice(("u1", "f4", "f8", "i8"))
        chunks = None if 0 in shape else tuple(min(side, 64) for side in shape)
        replace_object(file, path, None)
        dataset = file.create_dataset(path, shape, dtype, chunks=chunks if context.random.random() < 0.7 else None)
        if chunks and dataset.chunks and context.random.random() < 0.5:
            dataset[(0,) * len(shape)] = 1


def bombs(file: H5, context: FuzzContext) -> None:
    """Chunks that unpack to far more than their size, doubly packed ones, and unknown filters."""
    for path in context.random.sample(("Camera/25/color/0", "Camera/31/mask/1", "UV_texture/0", "ScanMask/25"), 2):
        replace_object(file, path, None)
        size = context.random.choice((2**24, 2**26, 2**28 - 1, 2**28))
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((size,))
        for _ in range(context.random.choice((1, 1, 2))):
            properties.set_deflate(9)
        if context.random.random() < 0.2:
            properties.set_filter(30_000 + context.random.randrange(3000), h5py.h5z.FLAG_OPTIONAL, (1, 2, 3))
        parent = file.require_group(path.rpartition("/")[0])
        space = h5py.h5s.create_simple((size,))
        dataset = h5py.h5d.create(
            parent.id, path.rpartition("/")[2].encode(), h5py.h5t.STD_U8LE, space, dcpl=properties
        )
        packed = _packed(size, properties.get_nfilters())
        dataset.write_direct_chunk((0,), packed if context.random.random() < 0.8 else packed[: len(packed) // 2])


@cache
def _packed(size: int, rounds: int) -> bytes:
    pack = zlib.compressobj(9)
    data = pack.compress(JPEG)
    for _ in range(size * 2 // 2**20):  # twice the size of the chunk
        data += pack.compress(bytes(2**20))
    data += pack.flush()
    return zlib.compress(data) if rounds > 1 else data


def many_cameras(file: H5, context: FuzzContext) -> None:
    """Very many names beside the cameras."""
    _add_names(file.require_group("Camera"), context, "camera ")


def many_frames(file: H5, context: FuzzContext) -> None:
    """Very many names among the frames of a camera or of the landmarks: frames, links, or other names."""
    path = context.random.choice(("Camera/25/color", "Camera/25/mask", "Keypoints3d", "FLAME", "UV_texture"))
    _add_names(file.require_group(path), context, context.random.choice(("", "x", "0")))


def _add_names(group: H5, context: FuzzContext, prefix: str) -> None:
    soft = context.random.random() < 0.5
    links, empty = group.id.links, group.file.create_dataset("empty", (0,), "u1").id
    for number in range(context.many):
        name = f"{prefix}{number + 1000}".encode()
        if soft:
            links.create_soft(name, b"/Camera/25/color/0")
        else:
            h5py.h5o.link(empty, group.id, name)


def deep_nesting(file: H5, context: FuzzContext) -> None:
    """Groups nested thousands deep, in the file and below a camera."""
    for path in ("", *random_paths(file, context, 1)):
        replace_object(file, path, None)
        group = file.require_group(path or "deep")
        for _ in range(1500):
            group = group.create_group("0")


def fat_attributes(file: H5, context: FuzzContext) -> None:
    """Attributes of 100 MB, thousands of them, or unusual ones, on the root and on /Camera."""
    choice = context.random.randrange(3)
    if choice == 0:
        file.attrs.create("actor_id", "0018" * (context.many * 500 // 4 + 1), dtype=h5py.string_dtype())
    for number in range(1500 if choice == 1 else 0):
        file["Camera"].attrs[f"a{number}\n\x1b[2J"] = number
    unusual: dict[str, Any] = {
        "age": np.array([np.nan, np.inf]),
        "color": h5py.Empty("f4"),
        "gender": np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]),
        "height": file["Camera"].ref,
        "weight": np.arange(5000.0),
        "actor_id": np.bytes_(b"\xff\xfe\0\x80"),
        "performance_part": "a\nb\x1b[31m",
        "capture_date": 2**63,
    }
    for name, value in context.random.sample(sorted(unusual.items(), key=lambda item: item[0]), 4):
        if not (choice == 0 and name == "actor_id"):
            file.attrs[name] = value
