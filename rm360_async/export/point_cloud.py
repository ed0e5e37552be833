"""Points to begin a reconstruction with: of the scan, else of the masks' visual hull, else of a ball at the head.

Programs that get none begin with random points in a box of their own idea of the scene's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rm360_async.dataset import Camera, DamagedData, MissingData, PublishedPerformance
from rm360_async.domain.cameras.calibration.conventions import place_cameras
from rm360_async.domain.cameras.rig import Array

MAX_POINTS = 20_000
_HULL_SIDE_M, _HULL_CELLS = 0.56, 48
_HULL_PARTS = 4
"""Carved one after the other: arrays of all cells at once are so large that each costs new memory of the system."""
_MAX_HULL_CAMERAS = 10
_MIN_HULL_POINTS, _HULL_POINTS = 500, 2_000
"""Fewer are no head; so many are there in most cases."""
_MIN_SEEN_SHARE = 0.6
"""Of the cameras that carve the hull: a point must be in the pictures of so many."""
_BALL_RADIUS_M, _BALL_POINTS = 0.20, 10_000
_REDUCE = 4
_GREY = 128


@dataclass(frozen=True, eq=False)
class PointCloud:
    """Points (N, 3) in world metres, unit normals (N, 3), RGB (N, 3) uint8, and what they were taken from."""

    points: Array
    normals: Array
    colours: NDArray[np.uint8]
    origin: str


def initial_points(performance: PublishedPerformance, frame: int) -> PointCloud:
    """Return points of the head at one frame, with the colours that the camera nearest to the front sees."""
    head = head_centre_of(performance)
    points, origin = _scan_points(performance), "scan"
    if points is None:
        points, origin = _hull_points(performance, frame, head), "masks"
    if points is None:
        points, origin = _ball_points(head), "ball"
    outward = points - head
    normals = outward / np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-9)
    return PointCloud(points, normals, _colours(performance, frame, points), origin)


def expected_points(performance: PublishedPerformance) -> int:
    """Return about how many points there will be, without reading any."""
    if "scan" in performance.modalities:
        return MAX_POINTS
    return _HULL_POINTS if "masks" in performance.modalities else _BALL_POINTS


def head_centre_of(performance: PublishedPerformance) -> Array:
    """Return the point (3,) that the cameras look at, world metres."""
    return place_cameras(np.stack([camera.RT for camera in performance.calibrated_cameras.values()])).head


def write_ply(path: Path, cloud: PointCloud) -> None:
    """Write x y z nx ny nz red green blue, binary: readers of 3DGS drop a cloud without normals."""
    from plyfile import PlyData, PlyElement

    columns = [*((name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")), *((c, "u1") for c in _COLOURS)]
    rows = np.empty(len(cloud.points), columns)
    for index, axis in enumerate("xyz"):
        rows[axis], rows[f"n{axis}"] = cloud.points[:, index], cloud.normals[:, index]
    for index, colour in enumerate(_COLOURS):
        rows[colour] = cloud.colours[:, index]
    PlyData([PlyElement.describe(rows, "vertex")], byte_order="<").write(str(path))


_COLOURS = ("red", "green", "blue")


def _scan_points(performance: PublishedPerformance) -> Array | None:
    try:
        vertices = np.asarray(performance.scan.vertices, np.float64)
    except (MissingData, DamagedData):
        return None
    vertices = vertices[np.isfinite(vertices).all(axis=1)]
    chosen = np.random.default_rng(0).permutation(len(vertices))[:MAX_POINTS]
    return vertices[np.sort(chosen)] if len(chosen) else None


def _hull_points(performance: PublishedPerformance, frame: int, head: Array) -> Array | None:
    """Return the surface cells of what lies in the masks of some cameras; None if that is hardly anything."""
    cameras = [camera for camera in performance.cameras.values() if performance.has_mask(camera.id, frame)]
    if len(cameras) < 2:
        return None
    chosen = cameras[:: -(-len(cameras) // _MAX_HULL_CAMERAS)]
    views = [
        (camera.reduced(_REDUCE), mask) for camera in chosen if (mask := _mask(performance, camera, frame)) is not None
    ]
    steps = np.linspace(-0.5, 0.5, _HULL_CELLS) * _HULL_SIDE_M
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1) + head
    points = grid.reshape(-1, 3)
    solid = np.concatenate([_is_in_masks(part, views) for part in np.array_split(points, _HULL_PARTS)])
    solid = solid.reshape(grid.shape[:3])
    core = solid[1:-1, 1:-1, 1:-1].copy()
    for axis in range(3):
        for step in (-1, 1):
            core &= np.roll(solid, step, axis)[1:-1, 1:-1, 1:-1]
    solid[1:-1, 1:-1, 1:-1] &= ~core
    surface = points[solid.reshape(-1)]
    return surface[:MAX_POINTS] if _MIN_HULL_POINTS <= len(surface) < len(points) / 2 else None


def _mask(performance: PublishedPerformance, camera: Camera, frame: int) -> NDArray[np.uint8] | None:
    try:
        return performance.mask(camera.id, frame, reduce=_REDUCE)
    except DamagedData:
        return None


def _is_in_masks(points: Array, views: Sequence[tuple[Camera, NDArray[np.uint8]]]) -> NDArray[np.bool_]:
    """Return which points (N, 3) are in the masks of all views, if they are in most of the pictures."""
    inside: NDArray[np.intp] = np.arange(len(points))
    seen = np.zeros(len(points), np.uint8)
    for camera, mask in views:
        values, is_in_picture = _sample(mask, camera, points[inside], outside=255)
        seen[inside] += is_in_picture
        inside = inside[values > 127]
    is_solid = np.zeros(len(points), np.bool_)
    is_solid[inside] = seen[inside] >= _MIN_SEEN_SHARE * len(views)
    return is_solid


def _ball_points(head: Array) -> Array:
    random = np.random.default_rng(0)
    directions = random.normal(size=(_BALL_POINTS, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return np.asarray(head + directions * _BALL_RADIUS_M * np.cbrt(random.uniform(size=(_BALL_POINTS, 1))))


def _colours(performance: PublishedPerformance, frame: int, points: Array) -> NDArray[np.uint8]:
    with_frame = [camera for camera in performance.cameras.values() if performance.has_image(camera.id, frame)]
    for camera in sorted(with_frame, key=lambda camera: abs(camera.azimuth) + abs(camera.elevation))[:1]:
        try:
            picture = performance.image(camera.id, frame, reduce=_REDUCE)
        except DamagedData:
            break
        return _sample(picture, camera.reduced(_REDUCE), points, outside=_GREY)[0]
    return np.full((len(points), 3), _GREY, np.uint8)


def _sample(
    picture: NDArray[np.uint8], camera: Camera, points: Array, outside: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the pixels that world points (N, 3) fall on, `outside` beside the picture, and which points are in it."""
    height, width = picture.shape[:2]
    columns, rows = np.moveaxis(np.rint(camera.project(points)), -1, 0)
    is_inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)  # False for NaN
    values = np.full((len(points), *picture.shape[2:]), outside, np.uint8)
    values[is_inside] = picture[rows[is_inside].astype(np.intp), columns[is_inside].astype(np.intp)]
    return values, is_inside


def probe_points(head: Array, count: int, radius: float = 0.25) -> Array:
    """Return points (count, 3) in a ball at the head, world metres, to be projected by two ways: always the same."""
    random = np.random.default_rng(7)
    directions = random.normal(size=(count, 3))
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return np.asarray(head + unit * radius * np.cbrt(random.uniform(size=(count, 1))))
