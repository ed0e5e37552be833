"""nerfstudio: transforms.json of one moment, with every lens, and links to the published pictures.

Facts about the reader (nerfstudio 1.1.5): camera-to-world matrices with OpenGL axes (x right, y up, z back), pixel
centres at +0.5; `applied_transform` was applied to the matrices and to the points of the PLY; lens coefficients at the
top level would apply to all cameras; masks are wanted for all frames or for none, and of the three lists of names all
or none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rm360_async.dataset import Camera
from rm360_async.dataset.pictures import read_size
from rm360_async.domain.cameras.rig import Array
from rm360_async.domain.names import camera_folder
from rm360_async.export.format import ExportEstimate, Figures, Format, Unit, Written, holes_note
from rm360_async.export.options import ExportOptions
from rm360_async.export.place_files import link_note, place_file
from rm360_async.export.point_cloud import PointCloud, expected_points, initial_points, write_ply
from rm360_async.export.reference_projection import probes, require, require_same, worst_error
from rm360_async.export.splits import split_cameras
from rm360_async.export.transforms_file import transforms_text

TRANSFORMS, POINTS = "transforms.json", "points3d.ply"
APPLIED_TRANSFORM = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""From the rig's world (up -Y, face -Z) to one with up +Z and the face to -Y."""
OPENGL_AXES = np.diag([1.0, -1, -1, 1])
MAX_ERROR_PX = 0.002
"""Its numbers are those of the source; a k3 left out moves points of the head by more than this."""
_BYTES_PER_POINT, _BYTES_PER_VIEW = 27, 700


class Nerfstudio(Format):
    """transforms.json with a lens for each view; pictures and masks are links."""

    name = "nerfstudio"
    description = "transforms.json of one moment, every lens kept: splatfacto, nerfacto and others of nerfstudio"
    links = True
    used_options = frozenset({"cameras", "frames", "images", "split"})
    image_modes = ("hard", "soft", "reference", "copy")
    by_moment = True

    def estimate(self, unit: Unit) -> ExportEstimate:
        """Return two files and a link for each picture and mask."""
        links = 0 if unit.options.images == "reference" else len(unit.views) * (1 + _has_all_masks(unit))
        size = _BYTES_PER_POINT * expected_points(unit.performance) + _BYTES_PER_VIEW * len(unit.views)
        return ExportEstimate(2, links, size, 0.05)

    def write(self, unit: Unit, staging: Path, options: ExportOptions) -> Written:
        """Write transforms.json, points3d.ply, images/ and masks/."""
        cloud, has_masks = initial_points(unit.performance, unit.frames[0]), _has_all_masks(unit)
        modes: set[str] = set()
        frames = [_frame(unit, staging, camera, has_masks, modes) for camera, _ in unit.views]
        notes = [*holes_note(unit), *link_note(modes, options.images), f"first points: {cloud.origin}"]
        if not has_masks:
            notes.append("without masks: the source has not one for every picture, and nerfstudio wants all or none")
        text = transforms_text(_document(frames, unit, options), frames)
        (staging / TRANSFORMS).write_text(text, encoding="utf-8")
        write_ply(staging / POINTS, _turned(cloud))
        return Written(len(frames), notes)

    def check(self, staging: Path, unit: Unit) -> Figures:
        """Project points as nerfstudio does with what was written, and compare with the source."""
        document = json.loads((staging / TRANSFORMS).read_text(encoding="utf-8"))
        by_camera = {frame["file_path"].rpartition("cam_")[2][:2]: frame for frame in document["frames"]}
        if unit.options.images == "reference":
            by_camera = {Path(frame["file_path"]).parent.name[-2:]: frame for frame in document["frames"]}
        require_same("views", by_camera, (camera for camera, _ in unit.views))
        for camera, frame in by_camera.items():
            _check_files(staging, unit, camera, frame)
        points = probes(unit.performance)
        applied = np.vstack([np.array(document["applied_transform"]), [0, 0, 0, 1]])
        turned = points @ applied[:3, :3].T + applied[:3, 3]
        error = worst_error(
            unit.performance, {camera: reader_pixels(frame, turned) for camera, frame in by_camera.items()}, points
        )
        require(error <= MAX_ERROR_PX, f"points come back {error:.3f} px off (limit {MAX_ERROR_PX})")
        return {"views": len(by_camera), "round_trip_px": round(error, 6)}


def _frame(unit: Unit, staging: Path, camera_id: str, has_masks: bool, modes: set[str]) -> dict[str, Any]:
    """Return the entry of one view, and place its picture and mask."""
    performance, moment, mode = unit.performance, unit.frames[0], unit.options.images
    kinds = {"file_path": ("images", performance.image_path)}
    if has_masks:
        kinds["mask_path"] = ("masks", performance.mask_path)
    paths = {}
    for key, (kind, path_of) in kinds.items():
        source = path_of(camera_id, moment)
        paths[key] = str(source)
        if mode != "reference":
            paths[key] = f"{kind}/{camera_folder(camera_id)}{source.suffix}"
            modes.add(place_file(source, staging / paths[key], mode))
    return {**paths, **frame_entry(performance.cameras[camera_id]), "frame": moment, "camera": camera_folder(camera_id)}


def frame_entry(camera: Camera) -> dict[str, Any]:
    """Return the entry of one camera as nerfstudio reads it: OpenGL axes, pixel centres at +0.5."""
    k1, k2, p1, p2, k3 = camera.D.tolist()
    return {
        "transform_matrix": (APPLIED_TRANSFORM @ camera.RT @ OPENGL_AXES).tolist(),
        "fl_x": float(camera.K[0, 0]),
        "fl_y": float(camera.K[1, 1]),
        "cx": float(camera.K[0, 2]) + 0.5,
        "cy": float(camera.K[1, 2]) + 0.5,
        "w": camera.width,
        "h": camera.height,
        **{"k1": k1, "k2": k2, "p1": p1, "p2": p2, "k3": k3},
    }


def _document(frames: Sequence[Mapping[str, Any]], unit: Unit, options: ExportOptions) -> dict[str, Any]:
    document: dict[str, Any] = {
        "camera_model": "OPENCV",
        "orientation_override": "none",
        "applied_transform": APPLIED_TRANSFORM[:3].tolist(),
        "ply_file_path": POINTS,
    }
    split = split_cameras([camera for camera, _ in unit.views], options.split)
    if split is not None:
        names = {frame["camera"][-2:]: frame["file_path"] for frame in frames}
        held_out = [names[camera] for camera in split.test]
        document["train_filenames"] = [names[camera] for camera in split.train]
        document |= {"val_filenames": held_out, "test_filenames": held_out}
    return document


def _turned(cloud: PointCloud) -> PointCloud:
    rotation = APPLIED_TRANSFORM[:3, :3]
    return PointCloud(cloud.points @ rotation.T, cloud.normals @ rotation.T, cloud.colours, cloud.origin)


def _has_all_masks(unit: Unit) -> bool:
    return all(unit.performance.has_mask(camera, frame) for camera, frame in unit.views)


def reader_pixels(frame: Mapping[str, Any], points: Array) -> Array:
    """Return the pixels (N, 2), integer centres, of points (N, 3) in the reader's world, as nerfstudio has them.

    Its rays start in pixels at +0.5, are undistorted with k1 k2 k3 p1 p2, and turned by a camera-to-world matrix with
    OpenGL axes.
    """
    to_camera = np.linalg.inv(np.array(frame["transform_matrix"], np.float64))
    x_gl, y_gl, z_gl = (points @ to_camera[:3, :3].T + to_camera[:3, 3]).T
    require(bool((z_gl < 0).all()), "the head is behind a camera")
    x, y = x_gl / -z_gl, y_gl / z_gl
    squared = x * x + y * y
    radial = 1 + frame["k1"] * squared + frame["k2"] * squared**2 + frame["k3"] * squared**3
    p1, p2 = frame["p1"], frame["p2"]
    u = frame["fl_x"] * (x * radial + 2 * p1 * x * y + p2 * (squared + 2 * x * x)) + frame["cx"]
    v = frame["fl_y"] * (y * radial + 2 * p2 * x * y + p1 * (squared + 2 * y * y)) + frame["cy"]
    return np.stack([u - 0.5, v - 0.5], axis=1)


def _check_files(staging: Path, unit: Unit, camera: str, frame: Mapping[str, Any]) -> None:
    """Compare the files that an entry names with those of the camera's moment, and their size with its width."""
    moment = unit.frames[0]
    sources = {"file_path": unit.performance.image_path(camera, moment)}
    if "mask_path" in frame:
        sources["mask_path"] = unit.performance.mask_path(camera, moment)
    for key, source in sources.items():
        written = staging / frame[key]
        require(_is_same_file(written, source), f"{frame[key]} is not the file of camera {camera}, frame {moment}")
        size = read_size(written)
        require(
            size in (None, (frame["w"], frame["h"])), f"{frame[key]} has {size} px, not {frame['w']} x {frame['h']}"
        )


def _is_same_file(written: Path, source: Path) -> bool:
    return written.samefile(source) or written.read_bytes() == source.read_bytes()


FORMAT = Nerfstudio()
