"""What every hostile file is made with: randomness, files outside that it points to, and edits of its objects."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np

H5 = Any
"""An object of h5py, which has no types."""
JPEG = bytes.fromhex("ffd8ffc0000b080040003001011100ffda0008010100003f00") + bytes(range(200)) + b"\xff\xd9"
_PATHS = (
    *("Camera", "Calibration", "Keypoints2d", "Keypoints3d", "FLAME", "UV_texture", "Scan", "ScanMask"),
    *("Camera/25", "Camera/31", "Camera/00", "Camera/25/color", "Camera/31/mask", "Camera/00/audio", "FLAME/0"),
    *("Camera/25/color/0", "Camera/25/color/1", "Camera/31/color/2", "Camera/31/mask/0", "Camera/00/audio/audio"),
    *("Camera/00/audio/sample_rate", "Calibration/25", "Calibration/25/K", "Calibration/31/D", "Keypoints2d/25"),
    *("Keypoints2d/25/0", "Keypoints3d/0", "FLAME/0/shape", "FLAME/1/trans", "UV_texture/1", "Scan/vertex"),
    *("Scan/vertex_indices", "ScanMask/25", "Camera/25/color/77", "Camera/32", "FLAME/77", "Keypoints3d/77"),
)


@dataclass(frozen=True)
class FuzzContext:
    """The randomness, the folder of files outside, and how many names "many" is."""

    random: Random
    outside: Path
    many: int = 200_000


def make_outside_files(outside: Path, secret: bytes) -> None:
    """Fill a folder with files that a hostile file points to; they hold `secret`, which must never be published."""
    outside.mkdir(parents=True, exist_ok=True)
    (outside / "secret.jpg").write_bytes(JPEG[:2] + b"\xff\xfe\x00" + bytes([len(secret) + 2]) + secret + JPEG[2:])
    with h5py.File(outside / "other.smc", "w") as file:
        for frame in range(4):
            blob = np.frombuffer((outside / "secret.jpg").read_bytes(), np.uint8)
            file.create_dataset(f"Camera/25/color/{frame}", data=blob)
        file["Keypoints3d/0"] = np.ones((73, 3))
    os.mkfifo(outside / "pipe")


def outside_paths(context: FuzzContext) -> tuple[str, ...]:
    """Return the paths of the files outside."""
    return tuple(str(context.outside / name) for name in ("other.smc", "secret.jpg", "pipe"))


def random_paths(file: H5, context: FuzzContext, count: int) -> list[str]:
    """Return paths of objects to replace, now and then a whole branch, and never one below another."""
    deep = [path for path in _PATHS if "/" in path]
    chosen = context.random.sample(deep, count)
    chosen += [context.random.choice(_PATHS)] if context.random.random() < 0.2 else []
    return [p for p in dict.fromkeys(chosen) if not any(p != q and p.startswith(q + "/") for q in chosen)]


def replace_object(file: H5, path: str, link: H5 | None) -> None:
    """Put a link or an object at a path instead of what is there; None only removes that."""
    if not path:
        return
    parent = file.require_group(path.rpartition("/")[0] or "/")
    name = path.rpartition("/")[2]
    if name in parent or parent.get(name, getlink=True, default=None) is not None:
        del parent[name]
    if link is not None:
        parent[name] = link


def new_group(file: H5, path: str) -> H5:
    """Return an empty group at a path, made instead of what is there."""
    replace_object(file, path, None)
    return file.require_group(path)
