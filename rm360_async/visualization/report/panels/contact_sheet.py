"""The contact sheet of a page: every camera in its place, the edge of its mask, a cross where the head should be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from rm360_async.domain.cameras.rig import FRONT_CAMERA, RESOLUTION, Array, project, rig
from rm360_async.domain.check_status import CheckState
from rm360_async.visualization.contact_sheet import absence_text, cell_positions
from rm360_async.visualization.published_folder import LOSS_REASONS
from rm360_async.visualization.report.frame_images import THUMBNAIL, FrameImage
from rm360_async.visualization.report.jpeg_budget import encode_jpegs_within
from rm360_async.visualization.report.page_data import PageData
from rm360_async.visualization.report.panels.panel import Panel
from rm360_async.visualization.svg import Drawing
from rm360_async.visualization.theme import BAD, EMPTY, MUTED, WARN, degrees_text
from rm360_async.visualization.thumbnail import resize_to_width

MOST_BYTES = 370_000
"""Bytes of all thumbnails together, before base64 makes them a third larger."""
_IN_MASK = 0.9


def contact_sheet_panel(material: PageData, shots: dict[str, FrameImage]) -> Panel:
    """Return the panel; the shots are those of the material's frame."""
    shown = {camera: shot for camera, shot in shots.items() if shot.picture is not None or not material.faces}
    absent: Counter[str] = Counter()
    small = {
        camera: resize_to_width(shot.picture, THUMBNAIL) for camera, shot in shown.items() if shot.picture is not None
    }
    pictures = encode_jpegs_within(small, MOST_BYTES)
    placed, heads = [], _heads(material, shown)
    for camera, (column, row) in cell_positions().items():
        cell: dict[str, Any] = {"camera": camera, "column": column + 2, "row": row + 2, "order": _order(camera)}
        cell |= {"drawing": "", "reason": ""}
        cell["azimuth"] = degrees_text(rig()[camera].azimuth)
        if camera in shown:
            cell["drawing"] = _draw(material, camera, shown[camera], pictures.get(camera), heads.get(camera))
        else:
            cell["reason"] = absence_text(material.folder, camera, material.frame, has_file=camera in shots)
            absent[cell["reason"]] += 1
        placed.append(cell)
    numbers = _numbers(material, shown, absent, heads)
    drawn = {"cells": placed, "losses": LOSS_REASONS, "masks": any(shot.has_mask for shot in shown.values())}
    return Panel("contact", "Contact sheet", _state(numbers), _sentence(numbers, shots), numbers, drawn)


def _order(camera: str) -> int:
    """Return the place of a camera when there is no room for columns: the nearest to the face first."""
    place = rig()[camera]
    return round(abs(place.azimuth - rig()[FRONT_CAMERA].azimuth) * 4 + abs(place.elevation))


def _heads(material: PageData, cameras: Iterable[str]) -> dict[str, Array]:
    """Return where (2,) the head falls in each camera that has it in its frame."""
    if material.head is None or material.size is None:
        return {}
    height, width = material.size
    places = {
        c: project(material.head, material.lenses[c].K, material.lenses[c].RT) for c in cameras if c in material.lenses
    }
    return {c: at for c, at in places.items() if 0 <= at[0] < width and 0 <= at[1] < height}


def _numbers(
    material: PageData, shown: dict[str, FrameImage], absent: Counter[str], heads: dict[str, Array]
) -> dict[str, Any]:
    masked = [camera for camera, shot in shown.items() if shot.has_mask and camera in material.lenses]
    return {
        "frame": material.frame,
        "cameras": len(shown),
        "absent": dict(sorted(absent.items())),
        "calibrated": sum(camera in material.lenses for camera in shown),
        "head_in_frame": len(heads),
        "masks": len(masked),
        "head_in_mask": sum(camera in heads and shown[camera].inside(heads[camera]) for camera in masked),
    }


def _state(numbers: dict[str, Any]) -> CheckState:
    if any(reason in LOSS_REASONS for reason in numbers["absent"]):
        return CheckState.FAIL
    if numbers["head_in_frame"] < numbers["calibrated"]:
        return CheckState.FAIL
    return CheckState.WARN if numbers["head_in_mask"] < _IN_MASK * numbers["masks"] else CheckState.OK


def _sentence(numbers: dict[str, Any], shots: dict[str, FrameImage]) -> str:
    if not shots:
        return "no images in this folder"
    parts = [f"frame {numbers['frame']}: {numbers['cameras']} of {len(cell_positions())} cameras"]
    parts += [f"{count} {reason}" for reason, count in numbers["absent"].items()]
    if numbers["calibrated"]:
        parts.append(f"the head point is in the frame of {numbers['head_in_frame']} of {numbers['calibrated']}")
    if numbers["masks"]:
        parts.append(f"in the mask of {numbers['head_in_mask']} of {numbers['masks']}")
    return "; ".join(parts)


def _draw(material: PageData, camera: str, shot: FrameImage, jpeg: bytes | None, head: Array | None) -> str:
    height, width = material.size or RESOLUTION
    size = (THUMBNAIL, round(THUMBNAIL * height / width))
    drawing = Drawing(*size, f"camera {camera}")
    scale = THUMBNAIL / width
    if jpeg is not None:
        drawing.picture(jpeg, size)
    else:
        drawing.box((0, 0), size, EMPTY)
    if jpeg is None and not shot.rims:
        drawing.text((size[0] / 2, size[1] - 14), "not shown", 22, MUTED, "middle")
    for rim in shot.rims:
        outline = rim_steps(rim, scale)
        drawing.path(outline, "none" if material.faces else MUTED, WARN, 1.2)
    if head is not None:
        x, y = ((head + 0.5) * scale).tolist()
        drawing.line((x - 7, y), (x + 7, y), BAD, 1.6)
        drawing.line((x, y - 7), (x, y + 7), BAD, 1.6)
    return str(drawing)


def rim_steps(rim: Array, scale: float) -> str:
    """Return the steps of a closed path along a rim (N, 2) in pixels of the full image."""
    points = np.round((rim + 0.5) * scale, 1).tolist()
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points) + "Z"
