"""The scanned mesh of a performance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rm360_async.dataset.errors import DamagedData


@dataclass(frozen=True, eq=False)
class Scan:
    """A mesh: `vertices` (n, 3) world metres, as stored; `faces` (m, 3) int32, indices of vertices."""

    vertices: NDArray[Any]
    faces: NDArray[np.int32]


def read_scan(path: Path) -> Scan:
    """Return the mesh in scan/mesh.ply; raise DamagedData if it cannot be read."""
    from plyfile import PlyData, PlyParseError  # only a scan needs it

    try:
        stored = PlyData.read(str(path), known_list_len={"face": {"vertex_indices": 3}})  # read as one block
        vertices = np.stack([np.asarray(stored["vertex"][axis]) for axis in "xyz"], axis=1)
        faces = np.array(stored["face"]["vertex_indices"], np.int32).reshape(-1, 3)
    except (OSError, PlyParseError, KeyError, ValueError, TypeError) as error:
        raise DamagedData(f"{path} cannot be read: {error}") from error
    return Scan(vertices, faces)
