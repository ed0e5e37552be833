"""The scan: a mesh as binary PLY."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rm360_async.domain.names import Modality
from rm360_async.extraction.context import ExtractionContext, ModalityResult
from rm360_async.smc import SmcFile, UnreadableData, read_array

_MAX_ARRAY_BYTES = 256 * 2**20


def extract(context: ExtractionContext) -> ModalityResult:
    """Write scan/mesh.ply: vertices as stored (float32 or float64), faces int32."""
    result = ModalityResult(Modality.SCAN)
    file = context.source.file_with("Scan")
    if file is None:
        return result
    try:
        vertices, faces = _read(file)
    except UnreadableData as error:
        result.leave_out("", None, error.reason)
        return result
    if vertices is not None:
        result.stored = True
        _write(context, vertices, faces)
        result.files += 1
    return result


def _read(file: SmcFile) -> tuple[NDArray[Any] | None, NDArray[np.int32]]:
    vertices = _table(file, "vertex")
    indices = _table(file, "vertex_indices")
    if vertices is None:
        return None, np.empty((0, 3), np.int32)
    if vertices.dtype.kind != "f" or vertices.dtype.itemsize not in (4, 8):
        raise UnreadableData(f"vertex holds {vertices.dtype}, neither float32 nor float64")
    if indices is None:
        return vertices, np.empty((0, 3), np.int32)
    if indices.size and not (indices.min() >= 0 and indices.max() < len(vertices)):
        raise UnreadableData(f"vertex_indices points outside of the {len(vertices)} vertices")
    if (indices != np.floor(indices)).any():
        raise UnreadableData("vertex_indices holds fractions")
    return vertices, indices.astype(np.int32)


def _table(file: SmcFile, name: str) -> NDArray[Any] | None:
    try:
        values = read_array(file, ("Scan", name), _MAX_ARRAY_BYTES)
    except UnreadableData as error:
        raise UnreadableData(f"{name} {error.reason}") from error
    if values is not None and (values.ndim != 2 or values.shape[1] != 3):
        raise UnreadableData(f"{name} has shape {values.shape}, not (n, 3)")
    return values


def _write(context: ExtractionContext, vertices: NDArray[Any], faces: NDArray[np.int32]) -> None:
    from plyfile import PlyData, PlyElement  # only a scan needs it

    points = np.empty(len(vertices), [(axis, vertices.dtype.newbyteorder("<")) for axis in "xyz"])
    for column, axis in enumerate("xyz"):
        points[axis] = vertices[:, column]
    triangles = np.empty(len(faces), [("vertex_indices", "<i4", (3,))])
    triangles["vertex_indices"] = faces
    elements = [PlyElement.describe(points, "vertex"), PlyElement.describe(triangles, "face")]
    with context.folder.open("scan/mesh.ply") as target:
        PlyData(elements, byte_order="<").write(target)
