"""Make a whole, small .smc hostile: valid HDF5 that nobody in good faith would write.

Each function of HOSTILE spoils an open h5py file that `write_smc` or another writer made. `Trap` brings the
randomness and a folder of decoys outside: `decoy.smc`, `secret.jpg` and `pipe`, a FIFO on which a reader
hangs. An extraction must end in time, within its memory, and without having opened any of them.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np

H5 = Any
"""An object of h5py, which has no types."""

_JPEG = bytes.fromhex("ffd8ffc0000b080040003001011100ffda0008010100003f00") + bytes(range(200)) + b"\xff\xd9"
_NAMES = (
    *("..", "../../x", "a\nb", "\x1b[31mred", "x" * 60_000, "\uff12\uff15", " 25", "25 ", "-1", "1e3", "0" * 20, "007"),
    *("999999999", "9999999999", "CON", "é\u202e5", "'; rm -rf ~", "$(id)", ".extraction_complete", "25\t", "%s%n"),
)
_SLASHED = b"__________________"
_SLASHES = (b"../../../../canary", b"/etc/passwd\0\0\0\0\0\0\0", b"a/b/c/../../../etc", b"25\0hidden_behind_0")


@dataclass(frozen=True)
class Trap:
    """The randomness, the folder of decoys, and how many names "many" is."""

    random: Random
    outside: Path
    many: int = 200_000


def make_decoys(outside: Path, secret: bytes) -> None:
    """Fill a folder with what a hostile file points to; `secret` is in all of it and must never be published."""
    outside.mkdir(parents=True, exist_ok=True)
    (outside / "secret.jpg").write_bytes(_JPEG[:2] + b"\xff\xfe\x00" + bytes([len(secret) + 2]) + secret + _JPEG[2:])
    with h5py.File(outside / "decoy.smc", "w") as file:
        for frame in range(4):
            blob = np.frombuffer((outside / "secret.jpg").read_bytes(), np.uint8)
            file.create_dataset(f"Camera/25/color/{frame}", data=blob)
        file["Keypoints3d/0"] = np.ones((73, 3))
    os.mkfifo(outside / "pipe")


def spoil(path: Path, how: str, trap: Trap) -> None:
    """Make the file at `path` hostile in one of the ways of HOSTILE, in place."""
    with h5py.File(path, "r+") as file:
        HOSTILE[how](file, trap)
    if how == "odd_names":
        data = path.read_bytes()
        path.write_bytes(data.replace(_SLASHED, trap.random.choice(_SLASHES)))


def in_format(source: Path, target: Path, libver: str) -> Path:
    """Copy a file object by object into another HDF5 format, e.g. "latest" (checksums, dense groups)."""
    with h5py.File(source, "r") as old, h5py.File(target, "w", libver=libver) as new:
        new.attrs.update(dict(old.attrs))
        for name in old:
            old.copy(name, new)
    return target


def soft_cycles(file: H5, trap: Trap) -> None:
    """Put soft links that run in circles or point elsewhere in the file."""
    for place in _some(file, trap, 4):
        target = trap.random.choice(("/Camera", place, ".", "..", "/Camera/25/color/0", "/nowhere", "/" + place))
        _replace(file, place, h5py.SoftLink(target))


def external_links(file: H5, trap: Trap) -> None:
    """Put links to other files: a decoy, a pipe that never answers, a device, the file itself."""
    for place in _some(file, trap, 4):
        name = trap.random.choice((*_decoys(trap), file.filename, "/dev/zero", "/etc/passwd", "../../decoy.smc"))
        inner = trap.random.choice(("/" + place, "/Camera/25", "/Camera/25/color/0", "/"))
        _replace(file, place, h5py.ExternalLink(name, inner))


def hard_cycles(file: H5, trap: Trap) -> None:
    """Put hard links to groups above: a tree without an end."""
    for place in _some(file, trap, 4):
        above = ["/", *(group for group in ("Camera", "Camera/25", "Camera/25/color") if group in file)]
        _replace(file, place, file[trap.random.choice(above)])
    for camera in trap.random.sample(range(10, 99), 3):
        _replace(file, f"Camera/{camera}", file["/"])


def hard_bomb(file: H5, trap: Trap) -> None:
    """Name one picture (or one FLAME group) thousands of times: little on disk, much to write."""
    color = _fresh_group(file, "Camera/25/color")
    blob = np.zeros(2**20, np.uint8)
    blob[: len(_JPEG)] = np.frombuffer(_JPEG, np.uint8)
    color.create_dataset("0", data=blob, chunks=(2**20,), compression="gzip")
    if trap.random.random() < 0.5:
        flame = _fresh_group(file, "FLAME")
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
        _replace(file, place, None)
        dataset = file.create_dataset(place, shape, dtype, chunks=chunks if trap.random.random() < 0.7 else None)
        if chunks and dataset.chunks and trap.random.random() < 0.5:
            dataset[(0,) * len(shape)] = 1


def virtual(file: H5, trap: Trap) -> None:
    """Put datasets that are views of other files or of one another, with and without a growing side."""
    for place in _some(file, trap, 4):
        source = trap.random.choice((*_decoys(trap), ".", file.filename, "/dev/zero"))
        inner = trap.random.choice(("/Camera/25/color/0", "/" + place))
        _replace(file, place, None)
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
    for place in _some(file, trap, 4):
        name = trap.random.choice((*_decoys(trap), "/etc/passwd", "/dev/zero"))
        _replace(file, place, None)
        shape, dtype = trap.random.choice((((200,), "u1"), ((73, 3), "f8"), ((3, 3), "f8")))
        file.create_dataset(place, shape, dtype, external=[(name, 0, h5py.h5f.UNLIMITED)])


def bombs(file: H5, trap: Trap) -> None:
    """Put chunks that unpack to far more than they take, twice packed ones, and filters that nobody has."""
    for place in trap.random.sample(("Camera/25/color/0", "Camera/31/mask/1", "UV_texture/0", "ScanMask/25"), 2):
        _replace(file, place, None)
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
    data = pack.compress(_JPEG)
    for _ in range(size * 2 // 2**20):  # twice as much as the chunk claims
        data += pack.compress(bytes(2**20))
    data += pack.flush()
    return zlib.compress(data) if rounds > 1 else data


def odd_names(file: H5, trap: Trap) -> None:
    """Give groups, cameras, frames and parameters names that are paths, commands, escapes, or endless."""
    for _ in range(8):
        parent = trap.random.choice(
            ("Camera", "Camera/25/color", "Keypoints2d", "Keypoints3d", "FLAME", "FLAME/0", "ScanMask", "Calibration")
        )
        name = trap.random.choice((*_NAMES, *[_SLASHED.decode()] * 4)).encode()
        group = file.require_group(parent)
        if b"/" in name or name in (b"..", b"."):
            name = name.replace(b"/", b"\\")
        if name not in group.id:
            group.id.links.create_hard(name, file["/"].id, b"Camera/25/color/0")
    group = file.require_group("Camera")
    group[trap.random.choice(("2\uff15", "..5", "9\n"))] = file["Camera/25"]


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


def wrong_kinds(file: H5, trap: Trap) -> None:
    """Put scalars where groups belong, groups where datasets do, and types and shapes that fit nowhere."""
    for place in _some(file, trap, trap.random.randint(1, 6)):
        _replace(file, place, None)
        _odd_object(file, place, trap.random)


def _odd_object(file: H5, place: str, random: Random) -> None:
    pair = np.dtype([("a", "i4"), ("b", "f8")])
    kinds: tuple[tuple[Any, Any], ...] = (
        ((), "f8"),
        ((), h5py.string_dtype()),
        ((3,), h5py.string_dtype()),
        ((4,), h5py.vlen_dtype(np.uint8)),
        ((4,), pair),
        ((200,), "S1"),
        ((200,), "V1"),
        ((200,), "i1"),
        ((200,), "?"),
        ((10,), h5py.enum_dtype({"A": 0, "B": 1}, "u1")),
        ((73, 3), ">f8"),
        ((73, 3), "f2"),
        ((3, 3), "c16"),
        ((3, 3), "longdouble"),
        ((1,) * 32, "f4"),
        ((2,) * 20, "u1"),
        ((2048, 2448, 3), "u1"),
        ((0,), "f4"),
        ((5,), "i8"),
        ((2, 3), np.dtype(("f4", (2, 2)))),
        ((3,), h5py.ref_dtype),
        ((3,), h5py.regionref_dtype),
    )
    choice = random.randrange(len(kinds) + 4)
    if choice == len(kinds):
        file.create_group(place)
    elif choice == len(kinds) + 1:
        file.create_dataset(place, dtype="u1", shape=None, data=h5py.Empty("u1"))
    elif choice == len(kinds) + 2:
        file[place] = np.dtype("f8")  # a committed datatype
    elif choice == len(kinds) + 3:
        file.create_group(place).create_group("color")
    else:
        shape, dtype = kinds[choice]
        file.create_dataset(place, shape, dtype)


def deep_nesting(file: H5, trap: Trap) -> None:
    """Nest groups thousands deep, in the file and below a camera."""
    for place in ("", *_some(file, trap, 1)):
        _replace(file, place, None)
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


def bad_numbers(file: H5, trap: Trap) -> None:
    """Put NaN, infinities and absurd values where numbers are computed with."""
    rates: tuple[Any, ...] = (0, -1, 1, 7, np.nan, np.inf, 1e30, 44_100.5, [48_000, 1], "fast", 2**63, 1_000_000)
    values: dict[str, Any] = {
        "Camera/00/audio/sample_rate": trap.random.choice(rates),
        "Camera/00/audio/audio": np.full((200, 2), trap.random.choice((np.nan, np.inf, 1e38)), "f4"),
        "Calibration/25/K": np.full((3, 3), np.nan),
        "Calibration/31/RT": np.full((4, 4), np.inf),
        "Calibration/00/D": np.full((5, 100), np.nan),
        "Keypoints3d/0": np.full((73, 3), np.nan),
        "Scan/vertex_indices": np.array([[0, -1, 2**40]]),
        "Scan/vertex": np.full((4, 3), np.nan),
        "FLAME/0/trans": np.array([np.nan]),
    }
    for place, value in trap.random.sample(sorted(values.items(), key=lambda item: item[0]), 4):
        _replace(file, place, None)
        file[place] = value


def references(file: H5, trap: Trap) -> None:
    """Put datasets of references and of committed, variable-length types where bytes belong."""
    file["named"] = h5py.vlen_dtype(np.uint8)
    for place in _some(file, trap, 4):
        _replace(file, place, None)
        if trap.random.random() < 0.5:
            file.create_dataset(place, data=[file["Camera"].ref] * 3, dtype=h5py.ref_dtype)
        else:
            file.create_dataset(place, (4,), dtype=file["named"])[0] = np.arange(9, dtype=np.uint8)


def _decoys(trap: Trap) -> tuple[str, ...]:
    return tuple(str(trap.outside / name) for name in ("decoy.smc", "secret.jpg", "pipe"))


_PLACES = (
    *("Camera", "Calibration", "Keypoints2d", "Keypoints3d", "FLAME", "UV_texture", "Scan", "ScanMask"),
    *("Camera/25", "Camera/31", "Camera/00", "Camera/25/color", "Camera/31/mask", "Camera/00/audio", "FLAME/0"),
    *("Camera/25/color/0", "Camera/25/color/1", "Camera/31/color/2", "Camera/31/mask/0", "Camera/00/audio/audio"),
    *("Camera/00/audio/sample_rate", "Calibration/25", "Calibration/25/K", "Calibration/31/D", "Keypoints2d/25"),
    *("Keypoints2d/25/0", "Keypoints3d/0", "FLAME/0/shape", "FLAME/1/trans", "UV_texture/1", "Scan/vertex"),
    *("Scan/vertex_indices", "ScanMask/25", "Camera/25/color/77", "Camera/32", "FLAME/77", "Keypoints3d/77"),
)


def _some(file: H5, trap: Trap, count: int) -> list[str]:
    """Return places to spoil, now and then a whole branch, and never one below another."""
    deep = [place for place in _PLACES if "/" in place]
    chosen = trap.random.sample(deep, count) + ([trap.random.choice(_PLACES)] if trap.random.random() < 0.2 else [])
    return [p for p in dict.fromkeys(chosen) if not any(p != q and p.startswith(q + "/") for q in chosen)]


def _replace(file: H5, place: str, link: H5 | None) -> None:
    """Put a link or an object at a place, in the stead of what is there; None only makes room."""
    if not place:
        return
    parent = file.require_group(place.rpartition("/")[0] or "/")
    name = place.rpartition("/")[2]
    if name in parent or parent.get(name, getlink=True, default=None) is not None:
        del parent[name]
    if link is not None:
        parent[name] = link


def _fresh_group(file: H5, place: str) -> H5:
    _replace(file, place, None)
    return file.require_group(place)


HOSTILE: dict[str, Callable[[H5, Trap], None]] = {
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
