"""3D Gaussian splatting: canonical pictures of one moment, as COLMAP model or, with a split, as Blender transforms.

Facts about the readers (graphdeco's, and its many descendants): cx and cy are never read, so the principal point must
be the middle; PINHOLE only; an alpha channel is the mask; a points3D.ply without normals is dropped; without
points3d.ply the Blender branch writes a random one into the export. With sparse/ there, `--eval` always tests with
every eighth name and reads no list, so a split is written as transforms instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from rm360_async.domain.names import camera_folder
from rm360_async.export.canonical import CanonicalCamera
from rm360_async.export.canonical_check import check_views
from rm360_async.export.canonical_views import (
    BACKGROUND_LEVELS,
    CanonicalView,
    cameras_of,
    plan_views,
    relative_area,
    seconds_per_view,
    write_png,
    write_views,
)
from rm360_async.export.colmap_model import ColmapView, count_points, read_model, write_model
from rm360_async.export.format import ExportEstimate, Figures, Format, Unit, Written
from rm360_async.export.options import ExportOptions
from rm360_async.export.point_cloud import expected_points, initial_points, write_ply
from rm360_async.export.reference_projection import require, require_same
from rm360_async.export.splits import Split, split_cameras
from rm360_async.export.transforms_file import transforms_text
from rm360_async.export.written_view import WrittenView, read_picture

MODEL = "sparse/0"
TRAIN, TEST = "transforms_train.json", "transforms_test.json"
_OPENGL_AXES = np.diag([1.0, -1.0, -1.0, 1.0])
_BYTES_PER_POINT, _BYTES_PER_VIEW = 78, 60_000


class GaussianSplatting(Format):
    """Canonical pictures with their masks as alpha, a model or transforms of them, and first points."""

    name = "3dgs"
    description = "canonical pictures of one moment with PINHOLE cameras: 3DGS, 2DGS and all that ignore cx cy"
    links = False
    used_options = frozenset({"cameras", "frames", "size", "radius", "background", "split", "text"})
    by_moment = True

    def estimate(self, unit: Unit) -> ExportEstimate:
        """Return a picture for each view, and the model."""
        views = len(unit.views)
        pictures = views * relative_area(unit.options)
        size = _BYTES_PER_POINT * expected_points(unit.performance) + round(pictures * _BYTES_PER_VIEW)
        return ExportEstimate(views + 4, 0, size, 0.05 + views * seconds_per_view(unit.options))

    def write(self, unit: Unit, staging: Path, options: ExportOptions) -> Written:
        """Write images/ and either sparse/0/ or transforms_{train,test}.json with points3d.ply."""
        plan, cameras = plan_views(unit), cameras_of(unit.performance, options)
        background = options.background or "none"

        def write(view: CanonicalView) -> None:
            write_png(staging / "images" / _view_name(view.camera), view, background)

        write_views(unit.performance, cameras, plan, write, options.threads)
        written = [cameras[camera] for camera, _ in plan.views]
        split = split_cameras([camera.id for camera in written], options.split)
        cloud = initial_points(unit.performance, unit.frames[0])
        if split is None:
            write_model(staging / MODEL, [_model_view(camera) for camera in written], cloud, text=options.text)
            write_ply(staging / MODEL / "points3D.ply", cloud)
        else:
            _write_transforms(staging, cameras, split)
            write_ply(staging / "points3d.ply", cloud)
        notes = [*plan.notes, f"first points: {cloud.origin}"]
        if not plan.masked:
            notes.append("without masks: the background of the pictures is that of the studio")
        return Written(len(written), notes)

    def check(self, staging: Path, unit: Unit) -> Figures:
        """Read the cameras and pictures as 3DGS does, and compare them with the source."""
        plan = plan_views(unit)
        level = BACKGROUND_LEVELS.get(unit.options.background or "none")
        if unit.options.split == "none":
            views = list(_read_model_views(staging, unit.frames[0], level))
        else:
            views = list(_read_transforms_views(staging, unit.frames[0], level))
        require(len(views) == len(plan.views), f"{len(views)} views were written, not {len(plan.views)}")
        by_camera = {view.camera: view for view in views}
        require_same("views", by_camera, (camera for camera, _ in plan.views))
        names = (path.name for path in (staging / "images").iterdir())
        require_same("pictures", names, (_view_name(camera) for camera, _ in plan.views))

        def read(camera: str, _: int) -> WrittenView:
            return by_camera[camera]

        return check_views(unit.performance, plan.views, read, plan.masked, unit.options.threads)


def _view_name(camera: str) -> str:
    return f"{camera_folder(camera)}.png"


def _model_view(camera: CanonicalCamera) -> ColmapView:
    return ColmapView(int(camera.id) + 1, _view_name(camera.id), camera.size, camera.size, camera.K, camera.RT)


def _write_transforms(staging: Path, cameras: dict[str, CanonicalCamera], split: Split) -> None:
    for name, chosen in ((TRAIN, split.train), (TEST, split.test)):
        angle = 2 * float(np.arctan(cameras[chosen[0]].size / (2 * cameras[chosen[0]].focal)))
        text = transforms_text({"camera_angle_x": angle}, [_entry(cameras[camera]) for camera in chosen])
        (staging / name).write_text(text, encoding="utf-8")


def _entry(camera: CanonicalCamera) -> dict[str, Any]:
    """Return the entry of one view; the reader appends .png to `file_path`."""
    matrix = (camera.RT @ _OPENGL_AXES).tolist()
    return {"file_path": f"images/{camera_folder(camera.id)}", "transform_matrix": matrix}


def _read_model_views(staging: Path, frame: int, level: int | None) -> Iterator[WrittenView]:
    """Yield the views by the formulas of the COLMAP branch, which takes fx, fy and the middle of the picture."""
    require(count_points(staging / MODEL) > 0, "points3D.bin has not the points that it says")
    for name, view in read_model(staging / MODEL).items():
        fx, fy, cx, cy = view.params
        is_centred = (cx, cy) == (view.width / 2, view.height / 2)
        require(is_centred, f"{name}: the principal point is not the middle, which 3DGS assumes")
        picture, alpha = read_picture(staging / "images" / name)
        size = (view.height, view.width)
        require(picture.shape[:2] == size, f"{name} has {picture.shape[:2]} px, not {size}")
        RT = np.eye(4)
        RT[:3, :3], RT[:3, 3] = view.rotation.T, -view.rotation.T @ view.translation
        yield WrittenView(_camera_of(name), frame, _centred(fx, fy, size), RT, picture, alpha, level)


def _read_transforms_views(staging: Path, frame: int, level: int | None) -> Iterator[WrittenView]:
    """Yield the views by the formulas of the Blender branch: one angle for all, and the middle of each picture."""
    for name in (TRAIN, TEST):
        document = json.loads((staging / name).read_text(encoding="utf-8"))
        for entry in document["frames"]:
            picture, alpha = read_picture(staging / f"{entry['file_path']}.png")
            size = picture.shape[:2]
            focal = size[1] / (2 * np.tan(document["camera_angle_x"] / 2))
            RT = np.array(entry["transform_matrix"], np.float64) @ _OPENGL_AXES
            K = _centred(focal, focal, (size[0], size[1]))
            yield WrittenView(_camera_of(entry["file_path"]), frame, K, RT, picture, alpha, level)


def _camera_of(name: str) -> str:
    return name.rpartition(camera_folder(""))[2][:2]


def _centred(fx: float, fy: float, size: tuple[int, int]) -> np.ndarray[Any, np.dtype[np.float64]]:
    height, width = size
    return np.array([[fx, 0.0, (width - 1) / 2], [0.0, fy, (height - 1) / 2], [0.0, 0.0, 1.0]])


FORMAT = GaussianSplatting()
