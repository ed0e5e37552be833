"""Files with unexpected names, types and numbers."""

from __future__ import annotations

from random import Random
from typing import Any

import h5py
import numpy as np

from fuzz.hdf5_edits import H5, FuzzContext, random_paths, replace_object

_NAMES = (
    *("..", "../../x", "a\nb", "\x1b[31mred", "x" * 60_000, "\uff12\uff15", " 25", "25 ", "-1", "1e3", "0" * 20, "007"),
    *("999999999", "9999999999", "CON", "é\u202e5", "'; rm -rf ~", "$(id)", ".extraction_complete", "25\t", "%s%n"),
)
PLACEHOLDER = b"__________________"
SLASHED_NAMES = (
    b"../../../../canary",
    b"/etc/passwd\0\0\0\0\0\0\0",
    b"a/b/c/../../../etc",
    b"25\0hidden_behind_0",
)


def odd_names(file: H5, context: FuzzContext) -> None:
    """Names of groups, cameras, frames and parameters that are paths, commands, escape sequences, or very long."""
    for _ in range(8):
        parent = context.random.choice(
            ("Camera", "Camera/25/color", "Keypoints2d", "Keypoints3d", "FLAME", "FLAME/0", "ScanMask", "Calibration")
        )
        name = context.random.choice((*_NAMES, *[PLACEHOLDER.decode()] * 4)).encode()
        group = file.require_group(parent)
        if b"/" in name or name in (b"..", b"."):
            name = name.replace(b"/", b"\\")
        if name not in group.id:
            group.id.links.create_hard(name, file["/"].id, b"Camera/25/color/0")
    group = file.require_group("Camera")
    group[context.random.choice(("2\uff15", "..5", "9\n"))] = file["Camera/25"]


def wrong_kinds(file: H5, context: FuzzContext) -> None:
    """Scalars instead of groups, groups instead of datasets, and types and shapes that fit nowhere."""
    for path in random_paths(file, context, context.random.randint(1, 6)):
        replace_object(file, path, None)
        _put_random_object(file, path, context.random)


def _put_random_object(file: H5, path: str, random: Random) -> None:
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
        file.create_group(path)
    elif choice == len(kinds) + 1:
        file.create_dataset(path, dtype="u1", shape=None, data=h5py.Empty("u1"))
    elif choice == len(kinds) + 2:
        file[path] = np.dtype("f8")  # a committed datatype
    elif choice == len(kinds) + 3:
        file.create_group(path).create_group("color")
    else:
        shape, dtype = kinds[choice]
        file.create_dataset(path, shape, dtype)


def bad_numbers(file: H5, context: FuzzContext) -> None:
    """NaN, infinities and absurd values where the extraction computes with numbers."""
    rates: tuple[Any, ...] = (0, -1, 1, 7, np.nan, np.inf, 1e30, 44_100.5, [48_000, 1], "fast", 2**63, 1_000_000)
    values: dict[str, Any] = {
        "Camera/00/audio/sample_rate": context.random.choice(rates),
        "Camera/00/audio/audio": np.full((200, 2), context.random.choice((np.nan, np.inf, 1e38)), "f4"),
        "Calibration/25/K": np.full((3, 3), np.nan),
        "Calibration/31/RT": np.full((4, 4), np.inf),
        "Calibration/00/D": np.full((5, 100), np.nan),
        "Keypoints3d/0": np.full((73, 3), np.nan),
        "Scan/vertex_indices": np.array([[0, -1, 2**40]]),
        "Scan/vertex": np.full((4, 3), np.nan),
        "FLAME/0/trans": np.array([np.nan]),
    }
    for path, value in context.random.sample(sorted(values.items(), key=lambda item: item[0]), 4):
        replace_object(file, path, None)
        file[path] = value
