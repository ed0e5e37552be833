"""The contact sheet: one frame of all cameras, in the order in which they stand round the head.

18 columns by azimuth with the face in the middle, four rows by tier. Ids are no circle, so a sheet in the order
of ids shows nothing; here a swapped id, a dead camera or a wrong exposure is seen at a glance.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache

import numpy as np

from rm360_async.domain.cameras.coverage import TIERS
from rm360_async.domain.cameras.rig import rig
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.formatting import number_ranges
from rm360_async.visualization.published_folder import PublishedFolder
from rm360_async.visualization.raster import CELL, LABEL, LOSS_REASONS, Raster
from rm360_async.visualization.svg import Anchor
from rm360_async.visualization.theme import (
    BAD,
    FAINT,
    GOOD,
    INK,
    MUTED,
    SIDES,
    TIER_COLOURS,
    TIER_ELEVATIONS,
    degrees_text,
)
from rm360_async.visualization.thumbnail import decode_thumbnails

_MARGIN = 14
_GAP = 6
_NAMES = 124
"""Width of the column with the tiers' names."""
_HEAD = 124
_FOOT = 40
_IN_LATTICE = 51
"""Ids up to this one stand in columns of three (upper, middle, lower); the others are the inner ring."""


@dataclass(frozen=True)
class ContactSheet:
    """The sheet, and what is on it: cameras shown, and how many are absent for each reason."""

    sheet: Raster
    frame: int
    shown: tuple[str, ...]
    absent: dict[str, int]


@cache
def column_azimuths() -> tuple[float, ...]:
    """Return the azimuths (degrees, sorted) of the rig's 18 columns."""
    lattice = [camera for camera in rig().values() if int(camera.id) <= _IN_LATTICE]
    groups: dict[int, list[float]] = {}
    for camera in lattice:
        groups.setdefault(int(camera.id) // 3, []).append(camera.azimuth)
    return tuple(sorted(float(np.mean(angles)) for angles in groups.values()))


@cache
def cell_positions() -> dict[str, tuple[int, int]]:
    """Return column and row of each camera of the rig in the contact sheet."""
    places = {}
    for camera in rig().values():
        away = [abs((camera.azimuth - azimuth + 180) % 360 - 180) for azimuth in column_azimuths()]
        places[camera.id] = (int(np.argmin(away)), TIERS.index(camera.tier))
    return places


def contact_sheet(folder: PublishedFolder, frame: int | None = None) -> ContactSheet:
    """Return the contact sheet of one frame; by default of the first that most cameras have.

    Raises BadRequest when no camera has that frame.
    """
    frame = _usual_frame(folder) if frame is None else frame
    _require_frame(folder, frame)
    having = [camera for camera in cell_positions() if frame in folder.frames.get(camera, {})]
    paths = [folder.frames[camera][frame] for camera in having]
    pictures = dict(zip(having, decode_thumbnails(paths, CELL[0]), strict=True))
    sheet = _ruled(folder, frame)
    absent: Counter[str] = Counter()
    for camera in cell_positions():
        content = pictures.get(camera)
        reason = ""
        if content is None:
            reason = absence_text(folder, camera, frame, decoded=camera not in pictures)
            absent[reason] += 1
        label = f"{camera}   {degrees_text(rig()[camera].azimuth)}"
        sheet.cell(_place(*cell_positions()[camera]), label, reason if content is None else content)
    shown = tuple(camera for camera, picture in pictures.items() if picture is not None)
    _head(sheet, folder, frame, len(shown), absent)
    return ContactSheet(sheet, frame, shown, dict(absent))


def absence_text(folder: PublishedFolder, camera: str, frame: int, *, decoded: bool) -> str:
    """Return in a word or two why there is no picture of a camera's frame; not decoded is broken."""
    if not decoded:
        return "broken"
    return folder.why_no_frame(camera, frame) if camera in folder.frames else folder.why_no_camera(camera)


def _usual_frame(folder: PublishedFolder) -> int:
    counts = Counter(frame for files in folder.frames.values() for frame in files)
    return min(counts, key=lambda frame: (-counts[frame], frame), default=0)


def _require_frame(folder: PublishedFolder, frame: int) -> None:
    every = {each for files in folder.frames.values() for each in files}
    if not every:
        raise BadRequest(f"{folder.path} has no images")
    if frame not in every:
        raise BadRequest(f"no camera of {folder.path} has frame {frame}; there are frames {number_ranges(every)}")


def _place(column: int, row: int) -> tuple[int, int]:
    return _MARGIN + _NAMES + column * (CELL[0] + _GAP), _HEAD + row * (CELL[1] + LABEL + _GAP)


def _ruled(folder: PublishedFolder, frame: int) -> Raster:
    """Return the sheet without pictures: names of rows and sides, and the line below."""
    right, bottom = _place(len(column_azimuths()), len(TIERS))
    sheet = Raster(right - _GAP + _MARGIN, bottom + _FOOT)
    for row, tier in enumerate(TIERS):
        y = _place(0, row)[1] + CELL[1] / 2
        sheet.text((_MARGIN, y), tier, 20, TIER_COLOURS[tier])
        sheet.text((_MARGIN, y + 22), TIER_ELEVATIONS[tier], 15, MUTED)
    for azimuth, side in SIDES:
        x = float(
            np.interp(
                azimuth, column_azimuths(), [_place(at, 0)[0] + CELL[0] / 2 for at in range(len(column_azimuths()))]
            )
        )
        anchor: Anchor = "start" if azimuth == -180 else "end" if azimuth == 180 else "middle"
        edge = {"start": -CELL[0] / 2, "middle": 0.0, "end": CELL[0] / 2}[anchor]
        sheet.text((x + edge, _HEAD - 12), side, 18, INK if side == "face" else MUTED, anchor)
    sheet.box((_MARGIN, _HEAD - 42), (right - _MARGIN - _GAP, 1), FAINT)
    note = "below each: camera and azimuth in degrees, 0 = at the face, + = subject's left; rows: tiers and elevations"
    sheet.text((_MARGIN, bottom + 20), note, 16, MUTED)
    return sheet


def _head(sheet: Raster, folder: PublishedFolder, frame: int, shown: int, absent: Counter[str]) -> None:
    end = sheet.text((_MARGIN, 38), f"{folder.name}   frame {frame}", 28)
    end = sheet.text((end + 34, 38), f"{shown} of {len(cell_positions())} cameras", 22)
    for reason, count in sorted(absent.items()):
        colour = BAD if reason in LOSS_REASONS else MUTED
        end = sheet.text((end + 28, 38), f"{count} {reason}", 22, colour)
    if folder.verdict:
        sheet.text((_MARGIN, 66), folder.verdict, 18, BAD if folder.verdict.startswith("damaged") else GOOD)
