"""The contact sheet of a page: every camera in its position, the edge of its mask, a cross where the head should be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from rm360_async.domain.cameras.rig import FRONT_CAMERA, RESOLUTION, Array, project, rig
from rm360_async.domain.check_status import CheckState
from rm360_async.visualization.contact_sheet import absence_text, cell_positions
from rm360_async.visualization.published_folder import LOSS_REASONS
from rm360_async.visualization.report.frame_images import (
    THUMBNAIL_WIDTH,
    FrameImage,
    encode_jpegs_within,
    thumbnail_width,
)
from rm360_async.visualization.report.page_data import PageData
from rm360_async.visualization.report.page_files import FILES_FOLDER
from rm360_async.visualization.report.panels.panel import Panel
from rm360_async.visualization.svg import Drawing
from rm360_async.visualization.theme import BAD, EMPTY, MUTED, WARN, degrees_text
from rm360_async.visualization.thumbnail import resize_to_width

MAX_JPEG_BYTES = 370_000
"""Of all thumbnails together, before base64 makes them a third larger."""
MIN_HEADS_IN_MASK = 0.9
"""Share of the cameras with masks that must have the head point in the mask."""


def contact_sheet_panel(data: PageData, images: dict[str, FrameImage]) -> Panel:
    """Return the panel; `images` are those of the page's frame."""
    shown = {camera: image for camera, image in images.items() if image.picture is not None or not data.faces}
    drawings, heads = _drawings(data, shown)
    absent: Counter[str] = Counter()
    cells: list[dict[str, Any]] = []
    for camera, (column, row) in cell_positions().items():
        reason = ""
        if camera not in shown:
            reason = absence_text(data.folder, camera, data.frame, has_file=camera in images)
            absent[reason] += 1
            if reason not in LOSS_REASONS:
                continue
        cell = {"camera": camera, "column": column + 2, "row": row + 2, "order": _narrow_order(camera)}
        cell |= {"drawing": drawings.get(camera, ""), "reason": reason, "large": ""}
        if camera in shown and shown[camera].large is not None:
            cell["large"] = large_file(camera)
        cell |= {"azimuth": degrees_text(rig()[camera].azimuth)}
        cells.append(cell)
    numbers = _numbers(data, shown, absent, heads)
    has_masks = any(image.has_mask for image in shown.values())
    cells.sort(key=lambda cell: (rig()[cell["camera"]].azimuth, -rig()[cell["camera"]].elevation))
    width = thumbnail_width(len(cells))
    content = {"cells": cells, "losses": LOSS_REASONS, "masks": has_masks, "frame": data.frame}
    content |= {"in_rig": width == THUMBNAIL_WIDTH, "width": width}
    files = {large_file(camera): image.large for camera, image in shown.items() if image.large is not None}
    state, sentence = _state(numbers), _sentence(numbers, images)
    return Panel("contact", "Contact sheet", state, sentence, numbers, content, "contact_sheet", files)


def _narrow_order(camera: str) -> int:
    """Return a camera's rank on a screen that is too narrow for columns: nearest to the face first."""
    in_rig = rig()[camera]
    return round(abs(in_rig.azimuth - rig()[FRONT_CAMERA].azimuth) * 4 + abs(in_rig.elevation))


def _drawings(data: PageData, shown: dict[str, FrameImage]) -> tuple[dict[str, str], dict[str, Array]]:
    """Return the SVG of each shown camera, and the head in pixels of each camera that has it in its frame."""
    width = thumbnail_width(len(shown))
    thumbnails = {
        camera: resize_to_width(image.picture, width) for camera, image in shown.items() if image.picture is not None
    }
    jpegs, heads = encode_jpegs_within(thumbnails, MAX_JPEG_BYTES), _heads(data, shown)
    drawings = {
        camera: _draw(data, camera, image, jpegs.get(camera), heads.get(camera)) for camera, image in shown.items()
    }
    return drawings, heads


def _heads(data: PageData, cameras: Iterable[str]) -> dict[str, Array]:
    """Return the head (2,) in pixels of each camera that has it in its frame."""
    if data.head is None or data.size is None:
        return {}
    height, width = data.size
    parameters = {camera: data.cameras[camera] for camera in cameras if camera in data.cameras}
    points = {camera: project(data.head, each.K, each.RT) for camera, each in parameters.items()}
    return {camera: point for camera, point in points.items() if 0 <= point[0] < width and 0 <= point[1] < height}


def _numbers(
    data: PageData, shown: dict[str, FrameImage], absent: Counter[str], heads: dict[str, Array]
) -> dict[str, Any]:
    with_mask = [camera for camera, image in shown.items() if image.has_mask and camera in data.cameras]
    return {
        "frame": data.frame,
        "cameras": len(shown),
        "absent": dict(sorted(absent.items())),
        "calibrated": sum(camera in data.cameras for camera in shown),
        "head_in_frame": len(heads),
        "masks": len(with_mask),
        "head_in_mask": sum(camera in heads and shown[camera].is_in_mask(heads[camera]) for camera in with_mask),
    }


def _state(numbers: dict[str, Any]) -> CheckState:
    if numbers["head_in_frame"] < numbers["calibrated"]:
        return CheckState.FAIL
    has_losses = any(reason in LOSS_REASONS for reason in numbers["absent"])
    is_beside = numbers["head_in_mask"] < MIN_HEADS_IN_MASK * numbers["masks"]
    return CheckState.WARN if has_losses or is_beside else CheckState.OK


def _sentence(numbers: dict[str, Any], images: dict[str, FrameImage]) -> str:
    if not images:
        return "no images in this folder"
    parts = [f"frame {numbers['frame']}: {numbers['cameras']} of {len(cell_positions())} cameras"]
    parts += [f"{count} {reason}" for reason, count in numbers["absent"].items()]
    if numbers["calibrated"]:
        parts.append(f"the head point is in the frame of {numbers['head_in_frame']} of {numbers['calibrated']}")
    if numbers["masks"]:
        parts.append(f"in the mask of {numbers['head_in_mask']} of {numbers['masks']}")
    return "; ".join(parts)


def large_file(camera: str) -> str:
    """Return the address of a camera's large picture, relative to the page."""
    return f"{FILES_FOLDER}/cam_{camera}.jpg"


def _draw(data: PageData, camera: str, image: FrameImage, jpeg: bytes | None, head: Array | None) -> str:
    height, width = data.size or RESOLUTION
    size = (THUMBNAIL_WIDTH, round(THUMBNAIL_WIDTH * height / width))
    drawing = Drawing(*size, f"camera {camera}")
    scale = THUMBNAIL_WIDTH / width
    if jpeg is not None:
        drawing.picture(jpeg, size)
    else:
        drawing.box((0, 0), size, EMPTY)
    if jpeg is None and not image.mask_outlines:
        drawing.text((size[0] / 2, size[1] - 14), "not shown", 22, MUTED, "middle")
    for outline in image.mask_outlines:
        drawing.path(_closed_path(outline, scale), "none" if data.faces else MUTED, WARN, 1.2)
    if head is not None:
        x, y = ((head + 0.5) * scale).tolist()
        drawing.line((x - 7, y), (x + 7, y), BAD, 1.6)
        drawing.line((x, y - 7), (x, y + 7), BAD, 1.6)
    return str(drawing)


def _closed_path(outline: Array, scale: float) -> str:
    """Return the path commands along an outline (N, 2) in pixels of the full image."""
    points = np.round((outline + 0.5) * scale, 1).tolist()
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points) + "Z"
