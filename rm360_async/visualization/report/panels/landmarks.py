"""The proof of a page: the 3D landmarks, projected, on the 2D ones, in each camera that has those."""

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
from rm360_async.visualization.report.frame_images import FrameImage
from rm360_async.visualization.report.jpeg_budget import encode_jpegs_within
from rm360_async.visualization.report.page_data import PageData
from rm360_async.visualization.report.panels.panel import Panel
from rm360_async.visualization.svg import Drawing
from rm360_async.visualization.theme import BAD, EMPTY, GOOD, degrees_text
from rm360_async.visualization.thumbnail import Image

MOST_BYTES = 130_000
_WIDE = 240.0
"""Width in user units of a drawing."""
_MARGIN = 0.3
_SNAP = 8
"""Crops begin and end at multiples of this many pixels, so that they do in pictures decoded at an eighth, too."""
_Box = tuple[int, int, int, int]


def landmarks_panel(material: PageData, shots: dict[str, FrameImage]) -> Panel:
    """Return the panel; where no camera has landmarks, it says so."""
    found = material.reprojection
    check = check_landmarks(found)
    errors = dict(found.cameras) if found else {}
    numbers = {
        "check": check.as_json(),
        "paired": len(found.pairs) if found else 0,
        "points": found.points if found else 0,
        "cameras": {camera: _error(error) for camera, error in sorted(errors.items())},
    }
    cells = _cells(material, shots, errors)
    drawn = {"cells": cells, "drawn": any(cell["drawing"] for cell in cells)}
    return Panel("proof", "3D landmarks on 2D ones", check.state, check.sentence, numbers, drawn)


def _error(error: CameraError) -> dict[str, Any]:
    px, mm = (round(value, 3) if math.isfinite(value) else None for value in (error.px, error.mm))
    return {"px": px, "mm": mm, "frames": error.frames}


def _cells(material: PageData, shots: dict[str, FrameImage], errors: dict[str, CameraError]) -> list[dict[str, Any]]:
    """Return every camera with landmarks, those that are off first, and a drawing of those that have a picture."""
    drawings = _drawings(material, shots, errors) if material.faces else {}  # landmarks are a face, too
    places = {camera: rig()[camera].azimuth for camera in errors if camera in rig()}
    states = {camera: grade(error.mm, *ERROR_LIMITS_MM) for camera, error in errors.items()}
    return [
        {
            "camera": camera,
            "azimuth": degrees_text(places[camera]) if camera in places else "?",
            "error": _error(errors[camera]),
            "state": states[camera].value,
            "drawing": drawings.get(camera, ""),
        }
        for camera in sorted(errors, key=lambda camera: (states[camera] is CheckState.OK, places.get(camera, 0.0)))
    ]


def _drawings(material: PageData, shots: dict[str, FrameImage], errors: dict[str, CameraError]) -> dict[str, str]:
    frames = {c: frame for c in shots if c in errors and (frame := material.close_frame(c)) is not None}
    boxes = {camera: _box(material, material.landmarks2d[camera][frame]) for camera, frame in frames.items()}
    crops = {c: crop for c in frames if (crop := _crop(material, shots[c], boxes[c])) is not None}
    encoded = encode_jpegs_within(crops, MOST_BYTES)
    return {c: _draw(material, c, frame, boxes[c], encoded.get(c)) for c, frame in frames.items()}


def _box(material: PageData, points: Array) -> _Box:
    """Return left, top, right, bottom in pixels of the full image: a square about 2D landmarks (P, 2), inside of it."""
    height, width = material.size or RESOLUTION
    finite = points[np.isfinite(points).all(axis=1)]
    low, high = (finite.min(axis=0), finite.max(axis=0)) if len(finite) else (np.zeros(2), np.full(2, float(height)))
    side = min(height, width, _SNAP * int((1 + 2 * _MARGIN) * float((high - low).max()) // _SNAP + 1))
    corner = ((low + high - side) / 2 // _SNAP * _SNAP).clip(0, [width - side, height - side])
    left, top = corner.astype(int).tolist()
    return left, top, left + side, top + side


def _crop(material: PageData, shot: FrameImage, box: _Box) -> Image | None:
    if shot.close is None or material.size is None:
        return None
    scale = shot.close.shape[1] / material.size[1]
    left, top, right, bottom = (round(side * scale) for side in box)
    return shot.close[top : max(bottom, top + 1), left : max(right, left + 1)]


def _draw(material: PageData, camera: str, frame: int, box: _Box, jpeg: bytes | None) -> str:
    left, top, right, bottom = box
    scale = _WIDE / (right - left)
    size = (_WIDE, round((bottom - top) * scale, 1))
    drawing = Drawing(*size, f"camera {camera} frame {frame}")
    if jpeg is not None:
        drawing.picture(jpeg, size)
    else:
        drawing.box((0, 0), size, EMPTY)
    corner = np.array([left, top])
    lens, marked = material.lenses[camera], material.landmarks2d[camera][frame]
    falling = project_with_distortion(material.landmarks3d[frame], lens.K, lens.D, lens.RT)
    drawing.path(_diamonds((marked + 0.5 - corner) * scale), "none", BAD, 0.9)
    drawing.path(_crosses((falling + 0.5 - corner) * scale), "none", GOOD, 1.1)
    return str(drawing)


def _near(points: Array) -> list[tuple[float, float]]:
    finite = points[np.isfinite(points).all(axis=1) & (np.abs(points) < 10 * _WIDE).all(axis=1)]
    return [(round(x, 1), round(y, 1)) for x, y in finite.tolist()]


def _diamonds(points: Array) -> str:
    return "".join(f"M{x - 2:.1f} {y:g}l2-2 2 2-2 2z" for x, y in _near(points))


def _crosses(points: Array) -> str:
    return "".join(f"M{x - 2:.1f} {y:g}h4M{x:g} {y - 2:.1f}v4" for x, y in _near(points))
