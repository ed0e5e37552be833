"""GaussianAvatars: canonical pictures of all moments with a FLAME fit, and each fit, as VHAP exports them.

Facts about the reader (GaussianAvatars, `readDynamicNerfInfo`): the scene is recognised by canonical_flame_param.npz;
matrices are camera-to-world with OpenGL axes; only `camera_angle_x` is read, so the principal point must be the middle;
`timestep_index` is the index of the fit and runs from 0 without gaps; `translation` is added to what the FLAME model
gives, so it is the offset of the stored vertices. The world stays that of the rig.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rm360_async.dataset import PublishedPerformance
from rm360_async.domain.cameras.rig import FRONT_CAMERA
from rm360_async.domain.names import camera_folder
from rm360_async.export.canonical import CanonicalCamera
from rm360_async.export.canonical_check import check_views
from rm360_async.export.canonical_views import (
    BACKGROUND_LEVELS,
    PNG_COMPRESSION,
    CanonicalView,
    ViewPlan,
    cameras_of,
    plan_views,
    relative_area,
    seconds_per_view,
    write_encoded,
    write_png,
    write_views,
)
from rm360_async.export.flame_check import check_fits
from rm360_async.export.flame_parameters import canonical_parameters, flame_parameters
from rm360_async.export.format import ExportEstimate, Figures, Format, NotExportable, Unit, Written
from rm360_async.export.options import ExportOptions
from rm360_async.export.reference_projection import require
from rm360_async.export.transforms_file import transforms_text
from rm360_async.export.written_view import WrittenView, read_picture

TRAIN, VALIDATION, TEST = "train", "val", "test"
TRAIN_SHARE = 0.7
"""Of the moments; those after them are the test."""
CANONICAL_PARAMETERS = "canonical_flame_param.npz"
_OPENGL_AXES = np.diag([1.0, -1.0, -1.0, 1.0])
_BYTES_PER_VIEW = 110_000


class GaussianAvatars(Format):
    """Canonical pictures over a background, masks, FLAME parameters, and transforms of three splits."""

    name = "gaussianavatars"
    description = "pictures, FLAME fits and transforms of GaussianAvatars, as VHAP exports them (e performances)"
    links = False
    needs = ("images", "calibration", "flame")
    used_options = frozenset({"cameras", "frames", "size", "radius", "background"})
    by_moment = False
    default_frames = "all"

    def select_frames(
        self, performance: PublishedPerformance, cameras: Sequence[str], options: ExportOptions
    ) -> tuple[int, ...]:
        """Return the selected frames that have a FLAME fit; raise NotExportable if there are none."""
        fitted = set(performance.flame_frames)
        frames = tuple(frame for frame in super().select_frames(performance, cameras, options) if frame in fitted)
        if not frames:
            raise NotExportable("none of the selected frames has a FLAME fit")
        return frames

    def estimate(self, unit: Unit) -> ExportEstimate:
        """Return a picture and a mask for each view, and a fit for each moment."""
        views = len(unit.views)
        pictures = views * relative_area(unit.options)
        files = views * (1 + bool(unit.performance.mask_frames(unit.cameras[0]))) + len(unit.frames) + 5
        return ExportEstimate(files, 0, round(pictures * _BYTES_PER_VIEW), views * seconds_per_view(unit.options))

    def write(self, unit: Unit, staging: Path, options: ExportOptions) -> Written:
        """Write images/, fg_masks/, flame_param/ and the transforms."""
        plan, cameras = plan_views(unit), cameras_of(unit.performance, options)
        background = options.background or "white"

        def write(view: CanonicalView) -> None:
            name = _view_name(view.camera, view.frame)
            write_png(staging / "images" / name, view, background)
            if plan.masked and view.alpha is not None:
                write_encoded(staging / "fg_masks" / name, view.alpha, [cv2.IMWRITE_PNG_COMPRESSION, PNG_COMPRESSION])

        write_views(unit.performance, cameras, plan, write, options.threads)
        moments = sorted({frame for _, frame in plan.views})
        for index, frame in enumerate(moments):
            _write_parameters(staging / _parameters_path(index), flame_parameters(unit.performance.flame(frame)))
        _write_parameters(staging / CANONICAL_PARAMETERS, canonical_parameters(unit.performance.flame(moments[0])))
        entries = _entries(cameras, plan, moments)
        notes = [*plan.notes, str(unit.performance.flame_offset)]
        notes += _write_transforms(staging, sorted(entries, key=lambda e: (e["timestep_index"], e["camera_index"])))
        if not plan.masked:
            notes.append("without masks: the background of the pictures is that of the studio")
        return Written(len(entries), notes)

    def check(self, staging: Path, unit: Unit) -> Figures:
        """Read the transforms, pictures and fits as GaussianAvatars does, and compare them with the source."""
        entries = [entry for name in (TRAIN, VALIDATION, TEST) for entry in _read_transforms(staging, name)["frames"]]
        plan = plan_views(unit)
        level = BACKGROUND_LEVELS.get(unit.options.background or "white")
        by_view = {(entry["camera_id"], entry["timestep_index_original"]): entry for entry in entries}
        is_same = by_view.keys() == set(plan.views) and len(entries) == len(plan.views)
        require(is_same, "the transforms name other views")

        def read(camera: str, frame: int) -> WrittenView:
            return _read_view(staging, by_view[camera, frame], level)

        moments = {entry["timestep_index"]: entry["timestep_index_original"] for entry in entries}
        require(sorted(moments) == list(range(len(moments))), "timestep_index has gaps, which the reader indexes")
        paths = {(entry["timestep_index"], entry["flame_param_path"]) for entry in entries}
        require(len(paths) == len(moments), "views of one moment name different fits")
        fits = {moments[index]: dict(np.load(staging / path)) for index, path in paths}
        figures = check_views(unit.performance, plan.views, read, plan.masked, unit.options.threads)
        return {**figures, **check_fits(unit.performance, fits)}


def _write_parameters(path: Path, parameters: Mapping[str, NDArray[np.float32]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **dict(parameters))  # type: ignore[arg-type]  # numpy's stub takes the arrays for its own option


def _parameters_path(index: int) -> str:
    return f"flame_param/{index:05d}.npz"


def _view_name(camera: str, frame: int) -> str:
    return f"{camera_folder(camera)}_{frame:06d}.png"


def _entries(cameras: Mapping[str, CanonicalCamera], plan: ViewPlan, moments: Sequence[int]) -> list[dict[str, Any]]:
    """Return the entries of all views; cameras are numbered in the order of ids, moments in that of frames."""
    indices = {frame: index for index, frame in enumerate(moments)}
    camera_indices = {camera: index for index, camera in enumerate(sorted({camera for camera, _ in plan.views}))}
    return [
        _entry(cameras[camera], camera_indices[camera], frame, indices[frame], masked=plan.masked)
        for camera, frame in plan.views
    ]


def _entry(camera: CanonicalCamera, camera_index: int, frame: int, index: int, *, masked: bool) -> dict[str, Any]:
    name = _view_name(camera.id, frame)
    angle = 2 * float(np.arctan(camera.size / (2 * camera.focal)))
    middle = camera.size / 2
    masks = {"fg_mask_path": f"fg_masks/{name}"} if masked else {}
    return {
        "timestep_index": index,
        "timestep_index_original": frame,
        "timestep_id": f"{frame:06d}",
        "camera_index": camera_index,
        "camera_id": camera.id,
        **{"cx": middle, "cy": middle, "fl_x": camera.focal, "fl_y": camera.focal},
        **{"h": camera.size, "w": camera.size, "camera_angle_x": angle, "camera_angle_y": angle},
        "transform_matrix": (camera.RT @ _OPENGL_AXES).tolist(),
        "file_path": f"images/{name}",
        **masks,
        "flame_param_path": _parameters_path(index),
    }


def _write_transforms(staging: Path, entries: Sequence[dict[str, Any]]) -> list[str]:
    """Write transforms.json and those of the splits; return a sentence if a split is empty.

    Training and validation share the first moments, and the front camera is kept for validation; the last moments are
    the test, of all cameras.
    """
    count = max(entry["timestep_index"] for entry in entries) + 1
    first = int(np.ceil(TRAIN_SHARE * count))
    early = [entry for entry in entries if entry["timestep_index"] < first]
    held_out = [entry for entry in early if entry["camera_id"] == FRONT_CAMERA]
    if len(held_out) == len(early):
        held_out = []
    training = [entry for entry in early if not held_out or entry["camera_id"] != FRONT_CAMERA]
    splits = {
        TRAIN: training,
        VALIDATION: held_out,
        TEST: entries[len(early) :],
    }
    for name, chosen in {"": entries, **{f"_{split}": frames for split, frames in splits.items()}}.items():
        text = transforms_text(_document(chosen, entries[0]), chosen)
        (staging / f"transforms{name}.json").write_text(text, encoding="utf-8")
    empty = [name for name, chosen in splits.items() if not chosen]
    return [f"no views in {' and '.join(empty)}: too few moments, or only the front camera"] if empty else []


def _document(entries: Sequence[dict[str, Any]], any_entry: Mapping[str, Any]) -> dict[str, Any]:
    shared = ("cx", "cy", "fl_x", "fl_y", "h", "w", "camera_angle_x", "camera_angle_y")
    return {
        **{key: any_entry[key] for key in shared},
        "timestep_indices": sorted({entry["timestep_index"] for entry in entries}),
        "camera_indices": sorted({entry["camera_index"] for entry in entries}),
    }


def _read_transforms(staging: Path, split: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((staging / f"transforms_{split}.json").read_text(encoding="utf-8"))
    return document


def _read_view(staging: Path, entry: Mapping[str, Any], level: int | None) -> WrittenView:
    """Return a view by the reader's formulas: the focal length of the angle, and the principal point in the middle."""
    picture, alpha = read_picture(staging / entry["file_path"])
    height, width = picture.shape[:2]
    require((width, height) == (entry["w"], entry["h"]), f"{entry['file_path']} is not as large as its entry says")
    focal = width / (2 * np.tan(entry["camera_angle_x"] / 2))
    K = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    RT = np.array(entry["transform_matrix"], np.float64) @ _OPENGL_AXES
    mask = read_picture(staging / entry["fg_mask_path"])[0][..., 0] if "fg_mask_path" in entry else None
    camera, frame = entry["camera_id"], entry["timestep_index_original"]
    return WrittenView(camera, frame, K, RT, picture, alpha, level, mask)


FORMAT = GaussianAvatars()
