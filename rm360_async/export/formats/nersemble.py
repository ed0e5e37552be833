"""nersemble: canonical pictures in the tree of NeRSemble v2, which VHAP reads to fit FLAME.

Facts about the reader (VHAP, `NeRSembleV2Dataset`): one K for all cameras; world-to-camera matrices with OpenCV axes;
every camera of camera_params.json is opened at every moment, so moments that a camera lacks are left out; alpha maps
are opened as .jpg, though its docstring says .png; with a single camera the names of the files have no camera in them.
Colour correction must be switched off, as there is no calibration of colours.

camera_params.json belongs to the subject, so all performances of a subject in one output have the same cameras.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from rm360_async.dataset import PublishedPerformance
from rm360_async.domain.names import camera_folder
from rm360_async.export.canonical import CanonicalCamera
from rm360_async.export.canonical_check import check_views
from rm360_async.export.canonical_views import (
    BACKGROUND_LEVELS,
    CanonicalView,
    ViewPlan,
    cameras_of,
    plan_views,
    relative_area,
    seconds_per_view,
    write_encoded,
    write_views,
)
from rm360_async.export.format import ExportEstimate, Figures, Format, NotExportable, Unit, Written, shortened
from rm360_async.export.options import ExportOptions
from rm360_async.export.reference_projection import require, require_same
from rm360_async.export.written_view import WrittenView, read_picture

CAMERA_PARAMETERS = "camera_params.json"
_JPEG_QUALITY = 95
_BYTES_PER_VIEW = 90_000


class Nersemble(Format):
    """Pictures and alpha maps of all moments that every camera has, and one K."""

    name = "nersemble"
    description = "canonical pictures in the tree of NeRSemble v2: VHAP, to fit FLAME"
    links = False
    used_options = frozenset({"cameras", "frames", "size", "radius", "background"})
    by_moment = False
    default_frames = "all"

    def place_of(self, performance: PublishedPerformance) -> str:
        """Return where a performance lies below the output."""
        return f"{performance.subject}/sequences/{performance.performance}"

    def shared_files(self, staging: Path, unit: Unit) -> Mapping[str, bytes]:
        """Return the cameras, which all performances of the subject share, by their path below the output."""
        place = f"{unit.performance.subject}/calibration/{CAMERA_PARAMETERS}"
        return {place: (staging / CAMERA_PARAMETERS).read_bytes()}

    def estimate(self, unit: Unit) -> ExportEstimate:
        """Return a picture and an alpha map for each view."""
        views = len(unit.views)
        pictures = views * relative_area(unit.options)
        files = views * (1 + bool(unit.performance.mask_frames(unit.cameras[0]))) + 1
        return ExportEstimate(files, 0, round(pictures * _BYTES_PER_VIEW), views * seconds_per_view(unit.options))

    def write(self, unit: Unit, staging: Path, options: ExportOptions) -> Written:
        """Write images/, alpha_maps/ and a copy of the subject's camera_params.json."""
        plan, cameras = complete_moments(unit), cameras_of(unit.performance, options)
        level = BACKGROUND_LEVELS.get(options.background or "none")
        quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]

        def write(view: CanonicalView) -> None:
            name = _view_name(view.camera, view.frame)
            picture = view.picture if level is None else view.over(level)
            write_encoded(staging / "images" / name, picture[..., ::-1], quality)
            if plan.masked and view.alpha is not None:
                write_encoded(staging / "alpha_maps" / name, view.alpha, quality)

        write_views(unit.performance, cameras, plan, write, options.threads)
        _link_names_without_camera(staging, plan)
        chosen = {camera: cameras[camera] for camera in unit.cameras}
        (staging / CAMERA_PARAMETERS).write_text(_camera_parameters(chosen), encoding="utf-8")
        notes = [*plan.notes, "for VHAP: switch colour correction off, as there is no calibration of colours"]
        if not plan.masked:
            notes.append("without masks: no alpha maps, so VHAP needs alpha maps and the background colour off")
        return Written(len(plan.views), notes)

    def check(self, staging: Path, unit: Unit) -> Figures:
        """Read cameras, pictures and alpha maps as VHAP does, and compare them with the source."""
        plan = complete_moments(unit)
        parameters = json.loads((staging / CAMERA_PARAMETERS).read_text(encoding="utf-8"))
        require_same("cameras of camera_params.json", parameters["world_2_cam"], unit.cameras)
        names = {_view_name(camera, frame) for camera, frame in plan.views}
        there = {path.name for path in (staging / "images").iterdir() if path.name.startswith(camera_folder(""))}
        require_same("pictures", there, names)
        level = BACKGROUND_LEVELS.get(unit.options.background or "none")
        read = partial(_read_view, staging, parameters, level)
        masked = plan.masked and level is not None
        return check_views(unit.performance, plan.views, read, masked, unit.options.threads)


def complete_moments(unit: Unit) -> ViewPlan:
    """Return the views of the moments that every camera has; raise NotExportable if there are none."""
    plan = plan_views(unit)
    views = set(plan.views)
    complete = [frame for frame in unit.frames if all((camera, frame) in views for camera in unit.cameras)]
    if not complete:
        raise NotExportable("no moment has a picture of every selected camera; choose fewer cameras")
    kept = set(complete)
    lost = tuple(frame for frame in unit.frames if frame not in kept)
    notes = [f"{len(lost)} moments that a camera lacks were left out: {shortened(lost)}"] if lost else []
    return ViewPlan(tuple(view for view in plan.views if view[1] in kept), plan.masked, tuple(notes))


def _view_name(camera: str, frame: int) -> str:
    return f"{camera_folder(camera)}_{frame:06d}.jpg"


def _link_names_without_camera(staging: Path, plan: ViewPlan) -> None:
    """Give the files of a single camera the names that VHAP opens then, as links inside the export."""
    if len({camera for camera, _ in plan.views}) > 1:
        return
    for camera, frame in plan.views:
        for kind in ("images", "alpha_maps"):
            if (staging / kind).is_dir():
                (staging / kind / f"{frame:06d}.jpg").symlink_to(_view_name(camera, frame))


def _camera_parameters(cameras: Mapping[str, CanonicalCamera]) -> str:
    """Return camera_params.json; VHAP has pixel centres at +0.5, so the middle of the picture is half of its size."""
    any_camera = next(iter(cameras.values()))
    K = any_camera.K
    K[:2, 2] += 0.5
    world_to_camera = {camera: np.linalg.inv(one.RT).tolist() for camera, one in cameras.items()}
    size = {"height": any_camera.size, "width": any_camera.size}
    return json.dumps({"world_2_cam": world_to_camera, "intrinsics": K.tolist(), **size}, indent=1) + "\n"


def _read_view(staging: Path, parameters: Mapping[str, Any], level: int | None, camera: str, frame: int) -> WrittenView:
    name = _view_name(camera, frame)
    picture, _ = read_picture(staging / "images" / name)
    size = (parameters["height"], parameters["width"])
    require(picture.shape[:2] == size, f"{name} has {picture.shape[:2]} px, not {size}")
    K = np.array(parameters["intrinsics"], np.float64)
    K[:2, 2] -= 0.5
    alpha_map = staging / "alpha_maps" / name
    mask = read_picture(alpha_map)[0][..., 0] if alpha_map.exists() else None
    RT = np.asarray(np.linalg.inv(np.array(parameters["world_2_cam"][camera], np.float64)), np.float64)
    return WrittenView(camera, frame, K, RT, picture, None, level, mask)


FORMAT = Nersemble()
