"""The contact sheet: one frame of all cameras, in the order of their positions round the head.

18 columns by azimuth with the face in the middle, four rows by tier. Ids are not in circular order, so a sheet in the
order of ids shows nothing; here a swapped id, a dead camera or a wrong exposure is visible at a glance.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache

import numpy as np

from rm360_async.domain.cameras.coverage import TIERS
from rm360_async.domain.cameras.rig import rig
from rm360_async.domain.cameras.sets import resolve_cameras
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.formatting import number_ranges
from rm360_async.domain.terms import Selector
from rm360_async.visualization.published_folder import BROKEN, LOSS_REASONS, PublishedFolder
from rm360_async.visualization.raster import CELL_SIZE, LABEL_HEIGHT, Raster
from rm360_async.visualization.svg import Anchor
from rm360_async.visualization.theme import (
    BAD,
    FAINT,
    GOOD,
    INK,
    MARK,
    MUTED,
    SIDES,
    TIER_COLOURS,
    TIER_ELEVATIONS,
    degrees_text,
)
from rm360_async.visualization.thumbnail import decode_thumbnails

_MARGIN = 14
_GAP = 6
_TIER_WIDTH = 124
"""Width of the column with the names of the tiers."""
_HEADER_HEIGHT = 124
_FOOTER_HEIGHT = 40
_LAST_OF_COLUMNS = 51
"""Ids up to this one stand in columns of three (upper, middle, lower); the others are the inner ring."""


@dataclass(frozen=True)
class ContactSheet:
    """The image, and what is on it: cameras shown, and how many are absent for each reason."""

    raster: Raster
    frame: int
    shown: tuple[str, ...]
    absent: dict[str, int]
    marked: tuple[str, ...] = ()


@cache
def column_azimuths() -> tuple[float, ...]:
    """Return the mean azimuths (degrees, sorted) of the rig's 18 columns."""
    in_columns = [camera for camera in rig().values() if int(camera.id) <= _LAST_OF_COLUMNS]
    columns: dict[int, list[float]] = {}
    for camera in in_columns:
        columns.setdefault(int(camera.id) // 3, []).append(camera.azimuth)
    return tuple(sorted(float(np.mean(azimuths)) for azimuths in columns.values()))


@cache
def cell_positions() -> dict[str, tuple[int, int]]:
    """Return (column, row) of each camera of the rig in the contact sheet."""
    positions = {}
    for camera in rig().values():
        distances = [abs((camera.azimuth - azimuth + 180) % 360 - 180) for azimuth in column_azimuths()]
        positions[camera.id] = (int(np.argmin(distances)), TIERS.index(camera.tier))
    return positions


def contact_sheet(folder: PublishedFolder, frame: int | None = None, mark: Selector = ()) -> ContactSheet:
    """Return the contact sheet of one frame; by default of the first that most cameras have.

    The cameras that `mark` chooses among those of the folder get a frame. Raises BadRequest if no camera has that
    frame.
    """
    frame = _most_common_frame(folder) if frame is None else frame
    _require_frame(folder, frame)
    cameras = [camera for camera in cell_positions() if frame in folder.frames.get(camera, {})]
    paths = [folder.frames[camera][frame] for camera in cameras]
    pictures = dict(zip(cameras, decode_thumbnails(paths, CELL_SIZE[0]), strict=True))
    marked = resolve_cameras(mark, folder.frames)
    raster = _empty_sheet()
    absent: Counter[str] = Counter()
    for camera, (column, row) in cell_positions().items():
        label = f"{camera}   {degrees_text(rig()[camera].azimuth)}"
        if camera in marked:
            raster.mark_cell(cell_corner(column, row))
        picture = pictures.get(camera)
        if picture is not None:
            raster.picture_cell(cell_corner(column, row), label, picture)
            continue
        reason = absence_text(folder, camera, frame, has_file=camera in pictures)
        absent[reason] += 1
        raster.empty_cell(cell_corner(column, row), label, reason, is_loss=reason in LOSS_REASONS)
    shown = tuple(camera for camera, picture in pictures.items() if picture is not None)
    _draw_header(raster, folder, frame, len(shown), absent)
    if marked:
        _draw_mark_note(raster, mark, marked)
    return ContactSheet(raster, frame, shown, dict(absent), marked)


def absence_text(folder: PublishedFolder, camera: str, frame: int, *, has_file: bool) -> str:
    """Return in a word or two why there is no picture of a camera's frame; a file without a picture is broken."""
    if has_file:
        return BROKEN
    return folder.frame_absence(camera, frame) if camera in folder.frames else folder.camera_absence(camera)


def _most_common_frame(folder: PublishedFolder) -> int:
    counts = Counter(frame for files in folder.frames.values() for frame in files)
    return min(counts, key=lambda frame: (-counts[frame], frame), default=0)


def _require_frame(folder: PublishedFolder, frame: int) -> None:
    frames = {each for files in folder.frames.values() for each in files}
    if not frames:
        raise BadRequest(f"{folder.path} has no images")
    if frame not in frames:
        raise BadRequest(f"no camera of {folder.path} has frame {frame}; there are frames {number_ranges(frames)}")


def cell_corner(column: int, row: int) -> tuple[int, int]:
    """Return the upper left corner of a cell in pixels."""
    x = _MARGIN + _TIER_WIDTH + column * (CELL_SIZE[0] + _GAP)
    return x, _HEADER_HEIGHT + row * (CELL_SIZE[1] + LABEL_HEIGHT + _GAP)


def _empty_sheet() -> Raster:
    """Return the sheet without pictures: names of rows and sides, and the line below."""
    right, bottom = cell_corner(len(column_azimuths()), len(TIERS))
    raster = Raster(right - _GAP + _MARGIN, bottom + _FOOTER_HEIGHT)
    for row, tier in enumerate(TIERS):
        y = cell_corner(0, row)[1] + CELL_SIZE[1] / 2
        raster.text((_MARGIN, y), tier, 20, TIER_COLOURS[tier])
        raster.text((_MARGIN, y + 22), TIER_ELEVATIONS[tier], 15, MUTED)
    _draw_sides(raster)
    raster.box((_MARGIN, _HEADER_HEIGHT - 42), (right - _MARGIN - _GAP, 1), FAINT)
    note = "below each: camera and azimuth in degrees, 0 = at the face, + = subject's left; rows: tiers and elevations"
    raster.text((_MARGIN, bottom + 20), note, 16, MUTED)
    return raster


def _draw_sides(raster: Raster) -> None:
    """Write the names of the sides of the head above the columns at their azimuths."""
    centres = [cell_corner(column, 0)[0] + CELL_SIZE[0] / 2 for column in range(len(column_azimuths()))]
    for azimuth, side in SIDES:
        anchor: Anchor = "start" if azimuth == -180 else "end" if azimuth == 180 else "middle"
        to_edge = {"start": -CELL_SIZE[0] / 2, "middle": 0.0, "end": CELL_SIZE[0] / 2}[anchor]
        x = float(np.interp(azimuth, column_azimuths(), centres)) + to_edge
        raster.text((x, _HEADER_HEIGHT - 12), side, 18, INK if side == "face" else MUTED, anchor)


def _draw_header(raster: Raster, folder: PublishedFolder, frame: int, shown: int, absent: Counter[str]) -> None:
    end = raster.text((_MARGIN, 38), f"{folder.name}   frame {frame}", 28)
    end = raster.text((end + 34, 38), f"{shown} of {len(cell_positions())} cameras", 22)
    for reason, count in sorted(absent.items()):
        colour = BAD if reason in LOSS_REASONS else MUTED
        end = raster.text((end + 28, 38), f"{count} {reason}", 22, colour)
    if folder.verdict:
        raster.text((_MARGIN, 66), folder.verdict, 18, BAD if folder.verdict.startswith("damaged") else GOOD)


def _draw_mark_note(raster: Raster, mark: Selector, marked: tuple[str, ...]) -> None:
    """Write which cameras are marked, at the right of the line below the sheet."""
    name = mark if isinstance(mark, str) else "marked"
    height, width = raster.pixels.shape[:2]
    raster.text((width - _MARGIN, height - 20), f"{name}: {' '.join(marked)}", 16, MARK, "end")
