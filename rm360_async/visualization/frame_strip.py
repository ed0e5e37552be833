"""One camera over time: evenly spaced frames, and a bar in which every missing frame is seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rm360_async.domain.cameras.rig import rig
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.formatting import number_ranges
from rm360_async.domain.names import camera_id
from rm360_async.visualization.published_folder import PublishedFolder
from rm360_async.visualization.raster import CELL, LABEL, Raster
from rm360_async.visualization.theme import BAD, EMPTY, GOOD, MUTED, TIER_COLOURS, degrees_text
from rm360_async.visualization.thumbnail import decode_thumbnails

DEFAULT_FRAMES = 24
_A_ROW = 8
_MARGIN = 14
_GAP = 6
_HEAD = 68
_BAR = 26
_FOOT = 72


@dataclass(frozen=True)
class FrameStrip:
    """The sheet, and what is on it: the frames with a cell, and all frames that the camera lacks."""

    sheet: Raster
    frames: tuple[int, ...]
    missing: tuple[int, ...]


def frame_strip(folder: PublishedFolder, camera: str, count: int = DEFAULT_FRAMES) -> FrameStrip:
    """Return `count` frames (fewer if there are fewer) of one camera, from frame 0 to the last of any camera.

    Raises BadRequest when the camera has no images here.
    """
    camera = _known(folder, camera)
    files = folder.frames[camera]
    chosen = sorted({round(each) for each in np.linspace(0, folder.end, min(count, folder.end + 1)).tolist()})
    missing = tuple(frame for frame in range(folder.end + 1) if frame not in files)
    across = min(_A_ROW, max(len(chosen), 5))
    rows = -(-len(chosen) // across)
    width = 2 * _MARGIN + across * (CELL[0] + _GAP) - _GAP
    bottom = _HEAD + rows * (CELL[1] + LABEL + _GAP)
    sheet = Raster(width, bottom + _FOOT)
    having = [frame for frame in chosen if frame in files]
    pictures = dict(zip(having, decode_thumbnails([files[frame] for frame in having], CELL[0]), strict=True))
    for index, frame in enumerate(chosen):
        place = (_MARGIN + index % across * (CELL[0] + _GAP), _HEAD + index // across * (CELL[1] + LABEL + _GAP))
        picture = pictures.get(frame)
        reason = "broken" if frame in pictures else folder.why_no_frame(camera, frame)
        sheet.cell(place, f"{frame}{_seconds(folder, frame)}", reason if picture is None else picture)
    _head(sheet, folder, camera, len(files))
    _bar(sheet, bottom + 6, folder.end + 1, missing)
    return FrameStrip(sheet, tuple(chosen), missing)


def _known(folder: PublishedFolder, camera: str) -> str:
    try:
        known = camera_id(camera)
    except ValueError as error:
        raise BadRequest(str(error)) from error
    if known not in folder.frames:
        there = " ".join(folder.frames) or "none"
        raise BadRequest(f"camera {known} has no images in {folder.path}: {folder.why_no_camera(known)} (has: {there})")
    return known


def _seconds(folder: PublishedFolder, frame: int) -> str:
    fps = folder.record.fps if folder.record else None
    return f"   {frame / fps:.2f} s" if fps else ""


def _head(sheet: Raster, folder: PublishedFolder, camera: str, there: int) -> None:
    end = sheet.text((_MARGIN, 32), f"{folder.name}   camera {camera}", 22)
    place = rig().get(camera)
    if place is not None:
        where = f"{place.tier}, az {degrees_text(place.azimuth)}, el {degrees_text(place.elevation)}"
        end = sheet.text((end + 24, 32), where, 15, TIER_COLOURS[place.tier])
    fps = folder.record.fps if folder.record else None
    rate = f"{fps:g} frames a second" if fps else "frame rate not known (no sound)"
    sheet.text(
        (_MARGIN, 54),
        f"{there} of {folder.end + 1} frames, {rate}; below each: frame{', seconds' if fps else ''}",
        15,
        MUTED,
    )


def _bar(sheet: Raster, top: int, total: int, missing: tuple[int, ...]) -> None:
    """Draw one stretch per frame from left to right; a missing one is red and at least two pixels wide."""
    width = sheet.pixels.shape[1] - 2 * _MARGIN
    sheet.box((_MARGIN, top), (width, _BAR), GOOD if total else EMPTY)
    for frame in missing:
        sheet.box((_MARGIN + frame * width / total, top), (max(2.0, width / total), _BAR), BAD)
    plural = "s" if len(missing) > 1 else ""
    text = f"missing: frame{plural} {number_ranges(missing, 12)}" if missing else "no frame is missing"
    sheet.text((_MARGIN, top + _BAR + 20), "0", 15, MUTED)
    sheet.text((_MARGIN + width, top + _BAR + 20), str(total - 1), 15, MUTED, "end")
    sheet.text((_MARGIN + width / 2, top + _BAR + 20), text, 16, BAD if missing else GOOD, "middle")
