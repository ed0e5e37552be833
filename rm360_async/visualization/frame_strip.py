"""One camera over time: evenly spaced frames, and a bar that shows every missing frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rm360_async.domain.cameras.rig import rig
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.formatting import number_ranges
from rm360_async.domain.names import camera_id
from rm360_async.visualization.published_folder import BROKEN, LOSS_REASONS, PublishedFolder
from rm360_async.visualization.raster import CELL_SIZE, LABEL_HEIGHT, Raster
from rm360_async.visualization.theme import BAD, EMPTY, GOOD, MUTED, TIER_COLOURS, degrees_text
from rm360_async.visualization.thumbnail import decode_thumbnails

DEFAULT_FRAMES = 24
MAX_RANGES_SHOWN = 12
_MAX_COLUMNS, _MIN_COLUMNS = 8, 5
_MARGIN = 14
_GAP = 6
_HEADER_HEIGHT = 68
_BAR_HEIGHT = 26
_FOOTER_HEIGHT = 72


@dataclass(frozen=True)
class FrameStrip:
    """The image, and what is on it: the frames with a cell, and all frames that the camera lacks."""

    raster: Raster
    frames: tuple[int, ...]
    missing: tuple[int, ...]


def frame_strip(folder: PublishedFolder, camera: str, count: int = DEFAULT_FRAMES) -> FrameStrip:
    """Return `count` frames (fewer if there are fewer) of one camera, from frame 0 to the last of any camera.

    Raises BadRequest if the camera has no images here.
    """
    camera = _require_camera(folder, camera)
    files, total = folder.frames[camera], folder.last_frame + 1
    chosen = sorted({round(frame) for frame in np.linspace(0, total - 1, min(count, total)).tolist()})
    missing = tuple(frame for frame in range(total) if frame not in files)
    columns = min(_MAX_COLUMNS, max(len(chosen), _MIN_COLUMNS))
    bottom = _cell_corner(len(chosen) - 1, columns)[1] + CELL_SIZE[1] + LABEL_HEIGHT + _GAP
    raster = Raster(2 * _MARGIN + columns * (CELL_SIZE[0] + _GAP) - _GAP, bottom + _FOOTER_HEIGHT)
    with_file = [frame for frame in chosen if frame in files]
    thumbnails = decode_thumbnails([files[frame] for frame in with_file], CELL_SIZE[0])
    pictures = dict(zip(with_file, thumbnails, strict=True))
    for index, frame in enumerate(chosen):
        position, label = _cell_corner(index, columns), f"{frame}{_seconds_text(folder, frame)}"
        picture = pictures.get(frame)
        if picture is not None:
            raster.picture_cell(position, label, picture)
        else:
            reason = BROKEN if frame in pictures else folder.frame_absence(camera, frame)
            raster.empty_cell(position, label, reason, is_loss=reason in LOSS_REASONS)
    _draw_header(raster, folder, camera, len(files))
    _draw_bar(raster, bottom + 6, total, missing)
    return FrameStrip(raster, tuple(chosen), missing)


def _cell_corner(index: int, columns: int) -> tuple[int, int]:
    """Return the upper left corner of the n-th cell in pixels."""
    row, column = divmod(index, columns)
    y = _HEADER_HEIGHT + row * (CELL_SIZE[1] + LABEL_HEIGHT + _GAP)
    return _MARGIN + column * (CELL_SIZE[0] + _GAP), y


def _require_camera(folder: PublishedFolder, text: str) -> str:
    try:
        camera = camera_id(text)
    except ValueError as error:
        raise BadRequest(str(error)) from error
    if camera not in folder.frames:
        having = " ".join(folder.frames) or "none"
        reason = folder.camera_absence(camera)
        raise BadRequest(f"camera {camera} has no images in {folder.path}: {reason} (has: {having})")
    return camera


def _seconds_text(folder: PublishedFolder, frame: int) -> str:
    return f"   {frame / folder.fps:.2f} s" if folder.fps else ""


def _draw_header(raster: Raster, folder: PublishedFolder, camera: str, count: int) -> None:
    end = raster.text((_MARGIN, 32), f"{folder.name}   camera {camera}", 22)
    in_rig = rig().get(camera)
    if in_rig is not None:
        direction = f"{in_rig.tier}, az {degrees_text(in_rig.azimuth)}, el {degrees_text(in_rig.elevation)}"
        raster.text((end + 24, 32), direction, 15, TIER_COLOURS[in_rig.tier])
    rate = f"{folder.fps:g} frames a second" if folder.fps else "frame rate not known (no sound)"
    label = f"below each: frame{', seconds' if folder.fps else ''}"
    raster.text((_MARGIN, 54), f"{count} of {folder.last_frame + 1} frames, {rate}; {label}", 15, MUTED)


def _draw_bar(raster: Raster, top: int, total: int, missing: tuple[int, ...]) -> None:
    """Draw one segment per frame from left to right; a missing one is red and at least two pixels wide."""
    width = raster.pixels.shape[1] - 2 * _MARGIN
    raster.box((_MARGIN, top), (width, _BAR_HEIGHT), GOOD if total else EMPTY)
    for frame in missing:
        raster.box((_MARGIN + frame * width / total, top), (max(2.0, width / total), _BAR_HEIGHT), BAD)
    plural = "s" if len(missing) > 1 else ""
    text = f"missing: frame{plural} {number_ranges(missing, MAX_RANGES_SHOWN)}" if missing else "no frame is missing"
    y = top + _BAR_HEIGHT + 20
    raster.text((_MARGIN, y), "0", 15, MUTED)
    raster.text((_MARGIN + width, y), str(total - 1), 15, MUTED, "end")
    raster.text((_MARGIN + width / 2, y), text, 16, BAD if missing else GOOD, "middle")
