"""The azimuth-elevation map: which directions are kept, available or absent, and how far each is from a kept one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise

import numpy as np

from rm360_async.domain.cameras.coverage import TIERS, coverage
from rm360_async.domain.cameras.rig import Array, rig
from rm360_async.visualization.svg import Drawing, Point
from rm360_async.visualization.theme import (
    BAD,
    FAINT,
    INK,
    MUTED,
    PAPER,
    SIDES,
    TIER_COLOURS,
    TIER_ELEVATIONS,
    TINTS,
    degrees_text,
)

CameraDirections = Mapping[str, tuple[float, float]]
"""Azimuth and elevation in degrees by camera."""

_LEFT, _TOP, _WIDE, _HIGH = 70, 118, 1060, 320
_ELEVATIONS = (-35.0, 40.0)
_STEP = 2.5
_BANDS = tuple(zip((15.0, 30.0, 45.0, 181.0), TINTS, strict=True))
"""Up to how many degrees from the nearest kept camera, and the tint for it."""


def rig_directions() -> CameraDirections:
    """Return where the cameras of the built-in rig stand."""
    return {camera.id: (camera.azimuth, camera.elevation) for camera in rig().values()}


def coverage_map(
    title: str, kept: Collection[str], available: Collection[str], places: CameraDirections | None = None
) -> str:
    """Return the map as SVG text.

    `kept` cameras are filled, those that are `available` besides are hollow, all others of `places` (default: the
    built-in rig) are absent.
    """
    places = rig_directions() if places is None else places
    drawing = Drawing(_LEFT + _WIDE + 30, _TOP + _HIGH + 110, title)
    there = [camera for camera in kept if camera in places]
    for place, size, tint in _heat([places[camera] for camera in there]):
        drawing.box(place, size, tint)
    _axes(drawing)
    _gap(drawing, [places[camera][0] for camera in there])
    for camera in sorted(places, key=lambda camera: (camera in kept, camera in available)):
        _camera(drawing, camera, places[camera], kept, available)
    _words(drawing, title, kept, available, places)
    return str(drawing)


def _at(azimuth: float, elevation: float) -> Point:
    low, high = _ELEVATIONS
    return _LEFT + (azimuth + 180) / 360 * _WIDE, _TOP + (high - elevation) / (high - low) * _HIGH


def _heat(kept: list[tuple[float, float]]) -> Iterator[tuple[Point, Point, str]]:
    """Yield boxes (place, size, tint), each a run of equal tint in a row of the map."""
    azimuths = np.arange(-180, 180, _STEP) + _STEP / 2
    directions = _directions(np.array(kept).reshape(-1, 2))
    for elevation in np.arange(_ELEVATIONS[1], _ELEVATIONS[0], -_STEP) - _STEP / 2:
        row = _directions(np.stack([azimuths, np.full(azimuths.size, elevation)], axis=1))
        nearest = np.degrees(np.arccos(np.clip(row @ directions.T, -1, 1))).min(axis=1, initial=180.0)
        bands = np.searchsorted([limit for limit, _ in _BANDS], nearest)
        edges = np.flatnonzero(np.diff(bands, prepend=-1, append=-1)).tolist()
        for start, end in pairwise(edges):
            x, y = _at(-180 + start * _STEP, elevation + _STEP / 2)
            width = (end - start) * _STEP / 360 * _WIDE + 0.3
            yield (x, y), (width, _STEP / (_ELEVATIONS[1] - _ELEVATIONS[0]) * _HIGH + 0.3), _BANDS[int(bands[start])][1]


def _directions(angles: Array) -> Array:
    """Return unit vectors (N, 3) of azimuth and elevation (N, 2) in degrees."""
    azimuth, elevation = np.radians(angles).T
    level = np.cos(elevation)
    return np.stack([level * np.sin(azimuth), np.sin(elevation), level * np.cos(azimuth)], axis=1)


def _axes(drawing: Drawing) -> None:
    for azimuth in range(-180, 181, 30):
        drawing.line(_at(azimuth, _ELEVATIONS[0]), _at(azimuth, _ELEVATIONS[1]), FAINT)
        x, y = _at(azimuth, _ELEVATIONS[0])
        drawing.text((x, y + 16), f"{degrees_text(azimuth)}°", 11, MUTED, "middle")
    for azimuth, side in SIDES:
        x, y = _at(azimuth, _ELEVATIONS[0])
        drawing.text((x, y + 34), side, 13, INK if side == "face" else MUTED, "middle")
    for elevation in range(-30, 31, 15):
        drawing.line(_at(-180, elevation), _at(180, elevation), FAINT)
        x, y = _at(-180, elevation)
        drawing.text((x - 8, y + 4), f"{degrees_text(elevation)}°", 11, MUTED, "end")
    drawing.text((18, _TOP - 8), "elevation", 11, MUTED)


def _gap(drawing: Drawing, azimuths: list[float]) -> None:
    """Draw a bracket over the largest azimuth gap between neighbours; it may go round the back."""
    if len(azimuths) < 2:
        return
    ordered = sorted(azimuths)
    gaps = [(after - before) % 360 for before, after in zip(ordered, [*ordered[1:], ordered[0]], strict=True)]
    widest = int(np.argmax(gaps))
    start, end = ordered[widest], ordered[widest] + gaps[widest]
    y = _TOP - 10
    pieces = [(start, end)] if end <= 180 else [(start, 180.0), (-180.0, end - 360)]
    for first, last in pieces:
        drawing.line((_at(first, 0)[0], y), (_at(last, 0)[0], y), BAD, 2)
    for angle in (start, end - 360 if end > 180 else end):
        drawing.line((_at(angle, 0)[0], y - 5), (_at(angle, 0)[0], y + 5), BAD, 2)
    longest = max(pieces, key=lambda piece: piece[1] - piece[0])
    middle = _at(sum(longest) / 2, 0)[0]
    drawing.text(
        (min(max(middle, _LEFT + 60), _LEFT + _WIDE - 60), y - 8), f"largest gap {gaps[widest]:.1f}°", 12, BAD, "middle"
    )


def _camera(
    drawing: Drawing, camera: str, place: tuple[float, float], kept: Collection[str], available: Collection[str]
) -> None:
    x, y = _at(*place)
    tier = rig()[camera].tier if camera in rig() else "middle"
    if camera in kept:
        drawing.circle((x, y), 11, TIER_COLOURS[tier])
        drawing.text((x, y + 4), camera, 11, PAPER, "middle", "bold")
    elif camera in available:
        drawing.circle((x, y), 10, PAPER, TIER_COLOURS[tier])
        drawing.text((x, y + 4), camera, 11, TIER_COLOURS[tier], "middle")
    else:
        drawing.line((x - 4, y - 4), (x + 4, y + 4), MUTED, 1.5)
        drawing.line((x - 4, y + 4), (x + 4, y - 4), MUTED, 1.5)
        drawing.text((x + 6, y - 5), camera, 10, MUTED)


def _words(
    drawing: Drawing, title: str, kept: Collection[str], available: Collection[str], places: CameraDirections
) -> None:
    found = coverage(kept)
    drawing.text((18, 32), title, 20, INK)
    tiers = ", ".join(f"{found.tiers.get(tier, 0)} {tier}" for tier in TIERS)
    numbers = f"{len(kept)} kept ({tiers});  largest azimuth gap {found.gap:.1f}°;"
    numbers += f"  worst direction {found.worst:.1f}° from a kept camera, mean {found.mean:.1f}°"
    drawing.text((18, 56), numbers, 14, INK)
    hollow = len([camera for camera in available if camera in places and camera not in kept])
    absent = len([camera for camera in places if camera not in kept and camera not in available])
    _legend(drawing, len(kept), hollow, absent)


def _legend(drawing: Drawing, kept: int, available: int, absent: int) -> None:
    x, y = 26.0, _TOP + _HIGH + 66.0
    drawing.circle((x, y - 4), 8, INK)
    drawing.text((x + 14, y), f"kept {kept}", 12)
    drawing.circle((x + 96, y - 4), 7, PAPER, INK)
    drawing.text((x + 110, y), f"available {available}", 12)
    drawing.line((x + 213, y - 8), (x + 221, y), MUTED, 1.5)
    drawing.line((x + 213, y), (x + 221, y - 8), MUTED, 1.5)
    drawing.text((x + 228, y), f"absent {absent}", 12)
    for column, tier in enumerate(TIERS):
        drawing.circle((x + 360 + 185 * column, y - 4), 6, TIER_COLOURS[tier])
        drawing.text((x + 372 + 185 * column, y), f"{tier} ({TIER_ELEVATIONS[tier]}°)", 12)
    y += 26
    drawing.text((x - 8, y), "tint: angle to the nearest kept camera", 12, MUTED)
    for column, (limit, tint) in enumerate(_BANDS):
        drawing.box((x + 354 + 100 * column, y - 12), (18, 15), tint, FAINT)
        drawing.text((x + 378 + 100 * column, y), f"to {limit:.0f}°" if limit < 180 else "farther", 12)
