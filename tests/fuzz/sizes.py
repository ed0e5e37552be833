"""Files that are too much: claims, bombs, very many names, very deep groups, fat attributes."""

from __future__ import annotations

import zlib
from functools import cache
from typing import Any

import h5py
import numpy as np

from fuzz.trap import H5, JPEG, Trap, fresh_group, replace, some_places


def hard_bomb(file: H5, trap: Trap) -> None:
    """Name one picture (or one FLAME group) thousands of times: little on disk, much to write."""
    color = fresh_group(file, "Camera/25/color")
    blob = np.zeros(2**20, np.uint8)
    blob[: len(JPEG)] = np.frombuffer(JPEG, np.uint8)
    color.create_dataset("0", data=blob, chunks=(2**20,), compression="gzip")
    if trap.random.random() < 0.5:
        flame = fresh_group(file, "FLAME")
        flame.create_dataset("0/verts", data=np.ones((2**17,)), chunks=(2**17,), compression="gzip")
        color = flame
    for frame in range(1, 1000):
        color[str(frame)] = color["0"]


def huge_claims(file: H5, trap: Trap) -> None:
    """Claim arrays that no machine holds, unwritten or written a little; also empty ones with a huge side."""
    shapes = ((10**12,), (10**12, 2), (2**59,), (0, 2**59), (2**28, 2**31), (2**40, 1), (3, 2**40), (2**28 - 1, 2))
    places = ("Camera/00/audio/audio", "Camera/00/audio/sample_rate", "Keypoints3d/0", "Keypoints2d/25/0")
    more = ("Camera/25/color/0", "Camera/31/mask/1", "FLAME/0/verts", "Scan/vertex", "Scan/vertex_indices")
    for place in trap.random.sample((*places, *more, "Calibration/25/K", "UV_texture/0", "ScanMask/25"), 5):
        shape = trap.random.choice(shapes)
        dtype = trap.random.choice(("u1", "f4", "f8", "i8"))
        chunks = None if 0 in shape else tuple(min(side, 64) for side in shape)
        replace(file, place, None)
        dataset = file.create_dataset(place, shape, dtype, chunks=chunks if trap.random.random() < 0.7 else None)
        if chunks and dataset.chunks and trap.random.random() < 0.5:
            dataset[(0,) * len(shape)] = 1


def bombs(file: H5, trap: Trap) -> None:
    """Put chunks that unpack to far more than they take, twice packed ones, and filters that nobody has."""
    for place in trap.random.sample(("Camera/25/color/0", "Camera/31/mask/1", "UV_texture/0", "ScanMask/25"), 2):
        replace(file, place, None)
        size = trap.random.choice((2**24, 2**26, 2**28 - 1, 2**28))
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((size,))
        for _ in range(trap.random.choice((1, 1, 2))):
            properties.set_deflate(9)
        if trap.random.random() < 0.2:
            properties.set_filter(30_000 + trap.random.randrange(3000), h5py.h5z.FLAG_OPTIONAL, (1, 2, 3))
        parent = file.require_group(place.rpartition("/")[0])
        space = h5py.h5s.create_simple((size,))
        dataset = h5py.h5d.create(
            parent.id, place.rpartition("/")[2].encode(), h5py.h5t.STD_U8LE, space, dcpl=properties
        )
        packed = _packed(size, properties.get_nfilters())
        dataset.write_direct_chunk((0,), packed if trap.random.random() < 0.8 else packed[: len(packed) // 2])


@cache
def _packed(size: int, rounds: int) -> bytes:
    pack = zlib.compressobj(9)
    data = pack.compress(JPEG)
    for _ in range(size * 2 // 2**20):  # twice as much as the chunk claims
        data += pack.compress(bytes(2**20))
    data += pack.flush()
    return zlib.compress(data) if rounds > 1 else data


def many_cameras(file: H5, trap: Trap) -> None:
    """Put very many names beside the cameras."""
    _many(file.require_group("Camera"), trap, "camera ")


def many_frames(file: H5, trap: Trap) -> None:
    """Put very many names among the frames of a camera, or of the landmarks: frames, links, or no frames at all."""
    place = trap.random.choice(("Camera/25/color", "Camera/25/mask", "Keypoints3d", "FLAME", "UV_texture"))
    _many(file.require_group(place), trap, trap.random.choice(("", "x", "0")))


def _many(group: H5, trap: Trap, prefix: str) -> None:
    soft = trap.random.random() < 0.5
    links, empty = group.id.links, group.file.create_dataset("empty", (0,), "u1").id
    for number in range(trap.many):
        name = f"{prefix}{number + 1000}".encode()
        if soft:
            links.create_soft(name, b"/Camera/25/color/0")
        else:
            h5py.h5o.link(empty, group.id, name)


def deep_nesting(file: H5, trap: Trap) -> None:
    """Nest groups thousands deep, in the file and below a camera."""
    for place in ("", *some_places(file, trap, 1)):
        replace(file, place, None)
        group = file.require_group(place or "deep")
        for _ in range(1500):
            group = group.create_group("0")


def fat_attributes(file: H5, trap: Trap) -> None:
    """Hang attributes of 100 MB, thousands of them, or odd ones on the root and on /Camera."""
    choice = trap.random.randrange(3)
    if choice == 0:
        file.attrs.create("actor_id", "0018" * (trap.many * 500 // 4 + 1), dtype=h5py.string_dtype())
    for number in range(1500 if choice == 1 else 0):
        file["Camera"].attrs[f"a{number}\n\x1b[2J"] = number
    odd: dict[str, Any] = {
        "age": np.array([np.nan, np.inf]),
        "color": h5py.Empty("f4"),
        "gender": np.array([(1, 2.0)], [("a", "i4"), ("b", "f8")]),
        "height": file["Camera"].ref,
        "weight": np.arange(5000.0),
        "actor_id": np.bytes_(b"\xff\xfe\0\x80"),
        "performance_part": "a\nb\x1b[31m",
        "capture_date": 2**63,
    }
    for name, value in trap.random.sample(sorted(odd.items(), key=lambda item: item[0]), 4):
        if not (choice == 0 and name == "actor_id"):
            file.attrs[name] = value
