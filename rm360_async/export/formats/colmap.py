"""COLMAP: a model of one moment with the known poses, one PINHOLE camera for each view.

Pictures and masks are links where the lens is stored as none. Where it is not, they are undistorted under the K of
their camera: the only model of COLMAP with all five coefficients, FULL_OPENCV, is one that gsplat, 3DGS and nerfstudio
refuse. Facts about the readers: names are flat, since older ones take only their last part; points3D.ply has normals,
since 3DGS drops one without.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rm360_async.dataset import Camera
from rm360_async.domain.names import camera_folder
from rm360_async.domain.picture_header import picture_size
from rm360_async.export.colmap_model import ColmapView, ReadView, count_points, read_model, write_model
from rm360_async.export.format import ExportEstimate, Figures, Format, Unit, Written, holes_note, shortened
from rm360_async.export.options import ExportOptions
from rm360_async.export.place_files import link_note, place_file
from rm360_async.export.point_cloud import head_centre_of, initial_points, write_ply
from rm360_async.export.reference_projection import probes, require, require_same, worst_error
from rm360_async.export.splits import split_cameras
from rm360_async.export.undistort import undistort_map, undistortion_error

MODEL, POINTS = "sparse/0", "points3D.ply"
MAX_ERROR_PX, MAX_SHIFT_PX = 0.02, 0.05
"""A stored rotation is off an exact one by 6e-7, of which a quaternion has nothing: 0.001 px in a full picture."""
_JPEG_QUALITY = 95
_COMPARED_VIEWS = 3
_OWN_FILES, _OWN_BYTES = 4, 800_000
_BYTES_PER_MADE_VIEW, _SECONDS_PER_MADE_VIEW = 450_000, 0.15


class Colmap(Format):
    """sparse/0 with known poses; pictures are links where no lens distortion is stored."""

    name = "colmap"
    description = "sparse/0 of one moment with known poses: gsplat, COLMAP itself, readers that know cx and cy"
    links = True
    used_options = frozenset({"cameras", "frames", "images", "split", "text"})
    image_modes = ("hard", "soft", "copy")
    by_moment = True

    def estimate(self, unit: Unit) -> ExportEstimate:
        """Return the model, and links or, for cameras with a lens, pictures."""
        made = sum(unit.performance.cameras[camera].has_distortion for camera, _ in unit.views)
        masks = sum(unit.performance.has_mask(camera, frame) for camera, frame in unit.views)
        files = _OWN_FILES + made * (2 if masks else 1)
        size = _OWN_BYTES + made * _BYTES_PER_MADE_VIEW
        return ExportEstimate(files, len(unit.views) - made + masks, size, 0.05 + made * _SECONDS_PER_MADE_VIEW)

    def write(self, unit: Unit, staging: Path, options: ExportOptions) -> Written:
        """Write images/, masks/, sparse/0/, points3D.ply and, with a split, lists of names."""
        with ThreadPoolExecutor(options.threads, thread_name_prefix="colmap") as threads:
            modes = set().union(*threads.map(lambda view: _place_view(unit, staging, *view), unit.views))
        cloud = initial_points(unit.performance, unit.frames[0])
        views = [_view(unit, camera, frame) for camera, frame in unit.views]
        write_model(staging / MODEL, views, cloud, text=options.text)
        write_ply(staging / POINTS, cloud)
        _write_lists(staging, {camera: view.name for (camera, _), view in zip(unit.views, views, strict=True)}, options)
        return Written(len(views), [*holes_note(unit), *_notes(unit, modes), f"first points: {cloud.origin}"])

    def check(self, staging: Path, unit: Unit) -> Figures:
        """Project points with the model read back, and compare pictures that were made with their source."""
        model = read_model(staging / MODEL)
        names = {camera: _name(unit, camera, frame) for camera, frame in unit.views}
        require_same("images of the model", model, names.values())
        require_same("files in images/", (path.name for path in (staging / "images").iterdir()), names.values())
        require(count_points(staging / MODEL) > 0, "points3D.bin has not the points that it says")
        error = _round_trip(unit, {camera: model[name] for camera, name in names.items()})
        require(error <= MAX_ERROR_PX, f"points come back {error:.3f} px off (limit {MAX_ERROR_PX})")
        figures: dict[str, float | int | str] = {"views": len(model), "round_trip_px": round(error, 6)}
        for camera, frame in unit.views:
            _check_picture(staging, unit, camera, frame, model[names[camera]])
        made = [camera for camera, _ in unit.views if unit.performance.cameras[camera].has_distortion]
        if made:
            shift = _worst_shift(staging, unit, _spread(made), model)
            require(shift <= MAX_SHIFT_PX, f"undistorted pictures are {shift:.3f} px off (limit {MAX_SHIFT_PX})")
            figures |= {"undistorted_views": len(made), "picture_shift_px": round(shift, 4)}
        return figures


def _name(unit: Unit, camera: str, frame: int) -> str:
    suffix = unit.performance.image_path(camera, frame).suffix
    return camera_folder(camera) + (".jpg" if unit.performance.cameras[camera].has_distortion else suffix)


def _view(unit: Unit, camera_id: str, frame: int) -> ColmapView:
    camera = unit.performance.cameras[camera_id]
    name = _name(unit, camera_id, frame)
    return ColmapView(int(camera_id) + 1, name, camera.width, camera.height, camera.K, camera.RT)


def _place_view(unit: Unit, staging: Path, camera_id: str, frame: int) -> set[str]:
    """Place the picture of a view, and its mask if there is one; return how."""
    performance, mode = unit.performance, unit.options.images
    camera = performance.cameras[camera_id]
    picture = staging / "images" / _name(unit, camera_id, frame)
    has_mask = performance.has_mask(camera_id, frame)
    mask = staging / "masks" / f"{camera_folder(camera_id)}.png"
    if not camera.has_distortion:
        modes = {place_file(performance.image_path(camera_id, frame), picture, mode)}
        return modes | {place_file(performance.mask_path(camera_id, frame), mask, mode)} if has_mask else modes
    undistortion = undistort_map(camera)
    rgb = undistortion.warp(performance.image(camera_id, frame))
    _write_picture(picture, rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if has_mask:
        _write_picture(mask, undistortion.warp(performance.mask(camera_id, frame)), [])
    elif not undistortion.valid.all():
        _write_picture(mask, undistortion.valid.astype(np.uint8) * 255, [])
    return set()


def _write_picture(path: Path, pixels: NDArray[np.uint8], options: list[int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, pixels, options)[1].tobytes())


def _write_lists(staging: Path, names: dict[str, str], options: ExportOptions) -> None:
    split = split_cameras(list(names), options.split)
    if split is None:
        return
    for list_name, cameras in (("train", split.train), ("test", split.test), ("val", split.test)):
        text = "".join(f"{names[camera]}\n" for camera in cameras)
        (staging / f"{list_name}_list.txt").write_text(text, encoding="utf-8")


def _notes(unit: Unit, modes: Iterable[str]) -> list[str]:
    cameras = [unit.performance.cameras[camera] for camera, _ in unit.views]
    notes = link_note(set(modes), unit.options.images)
    made = tuple(camera.id for camera in cameras if camera.has_distortion)
    if made:
        notes.append(f"undistorted, since their cameras have a lens ({len(made)}): {shortened(made)}")
    without = tuple(camera for camera, frame in unit.views if not unit.performance.has_mask(camera, frame))
    if without:
        notes.append(f"without a mask in the source ({len(without)}): {shortened(without)}")
    return notes


def _round_trip(unit: Unit, views: dict[str, ReadView]) -> float:
    """Return the worst error in px, lenses left out where pictures are undistorted."""
    points = probes(unit.performance)
    projected = {camera: view.pixels(points) for camera, view in views.items()}
    return worst_error(unit.performance, projected, points, undistorted=True)


def _check_picture(staging: Path, unit: Unit, camera_id: str, frame: int, view: ReadView) -> None:
    """Check that a linked picture is the published one, and that its size is that of the model."""
    written = (staging / "images" / view.name).read_bytes()
    size = picture_size(written)
    require(size in (None, (view.width, view.height)), f"{view.name} has {size} px, not {view.width} x {view.height}")
    if not unit.performance.cameras[camera_id].has_distortion:
        is_same = written == unit.performance.image_bytes(camera_id, frame)
        require(is_same, f"{view.name} is not the picture of camera {camera_id}, frame {frame}")


def _spread(cameras: list[str]) -> list[str]:
    return cameras[:: -(-len(cameras) // _COMPARED_VIEWS)]


def _worst_shift(staging: Path, unit: Unit, cameras: list[str], model: dict[str, ReadView]) -> float:
    head, worst = head_centre_of(unit.performance), 0.0
    for camera_id, frame in unit.views:
        if camera_id not in cameras:
            continue
        camera: Camera = unit.performance.cameras[camera_id]
        view = model[_name(unit, camera_id, frame)]
        fx, fy, cx, cy = view.params
        K = np.array([[fx, 0, cx - 0.5], [0, fy, cy - 0.5], [0, 0, 1]])
        written = cv2.imread(str(staging / "images" / view.name), cv2.IMREAD_COLOR)
        require(written is not None, f"{view.name} cannot be decoded")
        rgb = np.asarray(written, np.uint8)[..., ::-1]
        worst = max(worst, undistortion_error(unit.performance, camera, frame, K, rgb, head))
    return worst


FORMAT = Colmap()
