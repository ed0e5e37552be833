"""A COLMAP model: cameras, images and points, written binary and as text, and read back.

Facts about the format (COLMAP 3 and 4): all numbers little-endian; poses are world-to-camera, a unit quaternion
(w, x, y, z) and a translation; pixel centres are at +0.5; points may have empty tracks, images no keypoints. Readers
of 3DGS and gsplat know PINHOLE only, and take the last part of an image's name.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from rm360_async.domain.cameras.rig import Array, world_to_camera
from rm360_async.export.point_cloud import PointCloud

_PINHOLE = 1
FILES = ("cameras", "images", "points3D")
_PIXEL_CENTRE = 0.5


@dataclass(frozen=True, eq=False)
class ColmapView:
    """One image with a camera of its own: `K` (3, 3) px with integer pixel centres, `RT` (4, 4) camera-to-world."""

    id: int
    name: str
    width: int
    height: int
    K: Array
    RT: Array

    @property
    def params(self) -> tuple[float, float, float, float]:
        """Return fx fy cx cy as COLMAP has them."""
        K = self.K
        return float(K[0, 0]), float(K[1, 1]), float(K[0, 2]) + _PIXEL_CENTRE, float(K[1, 2]) + _PIXEL_CENTRE

    @property
    def pose(self) -> tuple[float, ...]:
        """Return qw qx qy qz tx ty tz, world-to-camera."""
        matrix = world_to_camera(self.RT)
        return (*quaternion(matrix[:3, :3]), *matrix[:3, 3].tolist())


def quaternion(rotation: Array) -> tuple[float, float, float, float]:
    """Return the unit quaternion (w, x, y, z), w not negative, of a rotation (3, 3) that may be off by rounding."""
    r = rotation
    # the eigenvector of the largest eigenvalue is the quaternion of the nearest rotation
    symmetric = np.array(
        [
            [r[0, 0] - r[1, 1] - r[2, 2], 0, 0, 0],
            [r[1, 0] + r[0, 1], r[1, 1] - r[0, 0] - r[2, 2], 0, 0],
            [r[2, 0] + r[0, 2], r[2, 1] + r[1, 2], r[2, 2] - r[0, 0] - r[1, 1], 0],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], r[0, 0] + r[1, 1] + r[2, 2]],
        ]
    )
    x, y, z, w = np.linalg.eigh(symmetric)[1][:, -1].tolist()
    sign = -1.0 if w < 0 else 1.0
    return sign * w, sign * x, sign * y, sign * z


def write_model(folder: Path, views: Iterable[ColmapView], cloud: PointCloud, *, text: bool) -> None:
    """Write cameras, images and points3D to a new folder, binary, and with `text` as text too."""
    folder.mkdir(parents=True)
    views = list(views)
    _write_binary(folder, views, cloud)
    if text:
        _write_text(folder, views, cloud)


def _write_binary(folder: Path, views: list[ColmapView], cloud: PointCloud) -> None:
    with (folder / "cameras.bin").open("wb") as file:
        file.write(struct.pack("<Q", len(views)))
        for view in views:
            file.write(struct.pack("<iiQQ4d", view.id, _PINHOLE, view.width, view.height, *view.params))
    with (folder / "images.bin").open("wb") as file:
        file.write(struct.pack("<Q", len(views)))
        for view in views:
            file.write(struct.pack("<i7di", view.id, *view.pose, view.id) + view.name.encode() + b"\0")
            file.write(struct.pack("<Q", 0))
    rows = np.empty(len(cloud.points), _POINT_ROW)
    rows["id"], rows["error"], rows["track"] = np.arange(1, len(rows) + 1), 0.0, 0
    rows["xyz"], rows["rgb"] = cloud.points, cloud.colours
    (folder / "points3D.bin").write_bytes(struct.pack("<Q", len(rows)) + rows.tobytes())


_POINT_ROW = np.dtype([("id", "<u8"), ("xyz", "<f8", 3), ("rgb", "u1", 3), ("error", "<f8"), ("track", "<u8")])


def _write_text(folder: Path, views: list[ColmapView], cloud: PointCloud) -> None:
    cameras = (_line(view.id, "PINHOLE", view.width, view.height, *view.params) for view in views)
    images = (_line(view.id, *view.pose, view.id, view.name) + "\n" for view in views)  # a line of no keypoints
    zipped = zip(cloud.points.tolist(), cloud.colours.tolist(), strict=True)
    points = (_line(number, *xyz, *rgb, 0) for number, (xyz, rgb) in enumerate(zipped, 1))
    for name, lines in zip(FILES, (cameras, images, points), strict=True):
        (folder / f"{name}.txt").write_text("".join(lines), encoding="utf-8")


def _line(*values: object) -> str:
    return " ".join(repr(value) if isinstance(value, float) else str(value) for value in values) + "\n"


@dataclass(frozen=True, eq=False)
class ReadView:
    """An image of a model as a reader has it: name, size, fx fy cx cy, and world-to-camera R (3, 3) and t (3,)."""

    name: str
    width: int
    height: int
    params: tuple[float, ...]
    rotation: Array
    translation: Array

    def pixels(self, points: Array) -> Array:
        """Return pixels (N, 2), integer centres, of world points (N, 3), by COLMAP's own formula."""
        x, y, z = (points @ self.rotation.T + self.translation).T
        fx, fy, cx, cy = self.params
        in_front = np.where(z > 0, z, np.nan)
        return np.stack([fx * x / in_front + cx, fy * y / in_front + cy], axis=1) - _PIXEL_CENTRE


def read_model(folder: Path) -> dict[str, ReadView]:
    """Return the images of a binary model, by name. Raises ValueError for what is not a model of PINHOLE cameras."""
    try:
        with (folder / "cameras.bin").open("rb") as file:
            cameras = dict(_read_cameras(file))
        with (folder / "images.bin").open("rb") as file:
            return {view.name: view for view in _read_images(file, cameras)}
    except (struct.error, KeyError) as error:
        raise ValueError(f"{folder} is no COLMAP model: {error}") from error


def count_points(folder: Path) -> int:
    """Return how many points a binary model has, if its file has the size for them; else -1."""
    data = (folder / "points3D.bin").read_bytes()
    count = int.from_bytes(data[:8], "little")
    return count if len(data) == 8 + count * _POINT_ROW.itemsize else -1


def _read_cameras(file: BinaryIO) -> Iterator[tuple[int, tuple[int, int, tuple[float, ...]]]]:
    (count,) = _unpack(file, "<Q")
    for _ in range(count):
        camera, model, width, height = _unpack(file, "<iiQQ")
        if model != _PINHOLE:
            raise ValueError(f"camera {camera} has model {model}, not PINHOLE")
        yield camera, (width, height, _unpack(file, "<4d"))


def _read_images(file: BinaryIO, cameras: dict[int, tuple[int, int, tuple[float, ...]]]) -> Iterator[ReadView]:
    (count,) = _unpack(file, "<Q")
    for _ in range(count):
        _, w, x, y, z, *translation, camera = _unpack(file, "<i7di")
        name = bytearray()
        while (character := file.read(1)) not in (b"\0", b""):
            name += character
        (keypoints,) = _unpack(file, "<Q")
        file.seek(keypoints * 24, 1)
        width, height, params = cameras[camera]
        yield ReadView(name.decode(), width, height, params, _rotation(w, x, y, z), np.array(translation))


def _rotation(w: float, x: float, y: float, z: float) -> Array:
    """Return the rotation (3, 3) of a quaternion, as COLMAP's readers have it."""
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _unpack(file: BinaryIO, layout: str) -> tuple[int, ...]:
    return struct.unpack(layout, file.read(struct.calcsize(layout)))
