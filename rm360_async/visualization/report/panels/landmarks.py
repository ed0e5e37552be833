"""The landmarks of a page: the 3D ones, projected, on the 2D ones, in each camera that has those."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rm360_async.domain.cameras.calibration.check import grade
from rm360_async.domain.cameras.calibration.landmarks import (
    ERROR_LIMITS_MM,
    CameraError,
    check_landmarks,
    project_with_distortion,
)
from rm360_async.domain.cameras.rig import RESOLUTION, Array, rig
from rm360_async.domain.check_status import CheckState
from rm360_async.visualization.report.frame_images import FrameImage, encode_jpegs_within
from rm360_async.visualization.report.page_data import PageData
from rm360_async.visualization.report.panels.panel import Panel
from rm360_async.visualization.svg import Drawing
from rm360_async.visualization.theme import BAD, EMPTY, GOOD, degrees_text
from rm360_async.visualization.thumbnail import Image

MAX_JPEG_BYTES = 130_000
"""Of all pictures together."""
_WIDTH = 240.0
"""Of a drawing in user units."""
_MARGIN = 0.3
"""Of a crop about the landmarks, as a share of their extent."""
_GRID_PX = 8
"""Crops begin and end at multiples of this, so that they also do in pictures decoded at an eighth of the size."""
_Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels of the full image."""


def landmarks_panel(data: PageData, images: dict[str, FrameImage]) -> Panel:
    """Return the panel; it says so if no camera has landmarks."""
    result = data.reprojection_errors
    check = check_landmarks(result)
    errors = dict(result.cameras) if result else {}
    numbers = {
        "check": check.as_json(),
        "paired": len(result.pairs) if result else 0,
        "points": result.points if result else 0,
        "cameras": {camera: _error_json(error) for camera, error in sorted(errors.items())},
    }
    cells = _cells(data, images, errors)
    content = {"cells": cells, "has_drawings": any(cell["drawing"] for cell in cells)}
    title = "3D landmarks on 2D ones"
    return Panel("proof", title, check.state, check.sentence, numbers, content, template="landmarks")


def _error_json(error: CameraError) -> dict[str, Any]:
    px, mm = (round(value, 3) if math.isfinite(value) else None for value in (error.px, error.mm))
    return {"px": px, "mm": mm, "frames": error.frames}


def _cells(data: PageData, images: dict[str, FrameImage], errors: dict[str, CameraError]) -> list[dict[str, Any]]:
    """Return every camera with landmarks, those with large errors first, with a drawing if there is a picture."""
    drawings = _drawings(data, images, errors) if data.faces else {}  # landmarks show a face, too
    azimuths = {camera: rig()[camera].azimuth for camera in errors if camera in rig()}
    states = {camera: grade(error.mm, *ERROR_LIMITS_MM) for camera, error in errors.items()}
    return [
        {
            "camera": camera,
            "azimuth": degrees_text(azimuths[camera]) if camera in azimuths else "?",
            "error": _error_json(errors[camera]),
            "state": states[camera].value,
            "drawing": drawings.get(camera, ""),
        }
        for camera in sorted(errors, key=lambda camera: (states[camera] is CheckState.OK, azimuths.get(camera, 0.0)))
    ]


def _drawings(data: PageData, images: dict[str, FrameImage], errors: dict[str, CameraError]) -> dict[str, str]:
    frames = {camera: data.landmark_frame(camera) for camera in images if camera in errors}
    shown = {camera: frame for camera, frame in frames.items() if frame is not None}
    boxes = {camera: _box(data, data.landmarks2d[camera][frame]) for camera, frame in shown.items()}
    crops = {camera: _crop(data, images[camera], box) for camera, box in boxes.items()}
    jpegs = encode_jpegs_within({c: crop for c, crop in crops.items() if crop is not None}, MAX_JPEG_BYTES)
    return {camera: _draw(data, camera, frame, boxes[camera], jpegs.get(camera)) for camera, frame in shown.items()}


def _box(data: PageData, points: Array) -> _Box:
    """Return a square about 2D landmarks (P, 2) px, inside the image."""
    height, width = data.size or RESOLUTION
    finite = points[np.isfinite(points).all(axis=1)]
    low, high = (finite.min(axis=0), finite.max(axis=0)) if len(finite) else (np.zeros(2), np.full(2, float(height)))
    extent = (1 + 2 * _MARGIN) * float((high - low).max())
    side = min(height, width, _GRID_PX * int(extent // _GRID_PX + 1))
    corner = ((low + high - side) / 2 // _GRID_PX * _GRID_PX).clip(0, [width - side, height - side])
    left, top = corner.astype(int).tolist()
    return left, top, left + side, top + side


def _crop(data: PageData, image: FrameImage, box: _Box) -> Image | None:
    picture = image.landmark_picture
    if picture is None or data.size is None:
        return None
    scale = picture.shape[1] / data.size[1]
    left, top, right, bottom = (round(edge * scale) for edge in box)
    return picture[top : max(bottom, top + 1), left : max(right, left + 1)]


def _draw(data: PageData, camera: str, frame: int, box: _Box, jpeg: bytes | None) -> str:
    left, top, right, bottom = box
    scale = _WIDTH / (right - left)
    size = (_WIDTH, round((bottom - top) * scale, 1))
    drawing = Drawing(*size, f"camera {camera} frame {frame}")
    if jpeg is not None:
        drawing.picture(jpeg, size)
    else:
        drawing.box((0, 0), size, EMPTY)
    corner = np.array([left, top])
    parameters, marked = data.cameras[camera], data.landmarks2d[camera][frame]
    projected = project_with_distortion(data.landmarks3d[frame], parameters.K, parameters.D, parameters.RT)
    drawing.path(_diamonds((marked + 0.5 - corner) * scale), "none", BAD, 0.9)
    drawing.path(_crosses((projected + 0.5 - corner) * scale), "none", GOOD, 1.1)
    return str(drawing)


def _drawable(points: Array) -> list[tuple[float, float]]:
    """Return the points that are finite and not far outside the drawing, rounded."""
    is_drawable = np.isfinite(points).all(axis=1) & (np.abs(points) < 10 * _WIDTH).all(axis=1)
    return [(round(x, 1), round(y, 1)) for x, y in points[is_drawable].tolist()]


def _diamonds(points: Array) -> str:
    return "".join(f"M{x - 2:.1f} {y:g}l2-2 2 2-2 2z" for x, y in _drawable(points))


def _crosses(points: Array) -> str:
    return "".join(f"M{x - 2:.1f} {y:g}h4M{x:g} {y - 2:.1f}v4" for x, y in _drawable(points))
