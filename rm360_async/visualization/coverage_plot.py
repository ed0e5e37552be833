"""The azimuth-elevation map: which directions are kept, available or absent, and how far each is from a kept one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise

import numpy as np

from rm360_async.domain.cameras.coverage import TIERS, coverage
from rm360_async.domain.cameras.rig import Array, rig
from rm360_async.visualization.svg import Drawing, Point, Size
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

_LEFT, _TOP, _WIDTH, _HEIGHT = 70, 118, 1060, 320
_ELEVATION_RANGE = (-35.0, 40.0)
_TINT_STEP = 2.5
"""Width and height in degrees of the smallest tinted box."""
_TINT_LIMITS = tuple(zip((15.0, 30.0, 45.0, 181.0), TINTS, strict=True))
"""Largest angle in degrees to the nearest kept camera, and the tint up to it."""


def rig_directions() -> CameraDirections:
    """Return the directions of the built-in rig's cameras."""
    return {camera.id: (camera.azimuth, camera.elevation) for camera in rig().values()}


def coverage_map(
    title: str, kept: Collection[str], available: Collection[str], directions: CameraDirections | None = None
) -> str:
    """Return the map as SVG text.

    `kept` cameras are filled, other `available` ones are hollow, all others of `directions` (default: the
    built-in rig) are absent.
    """
    directions = rig_directions() if directions is None else directions
    drawing = Drawing(_LEFT + _WIDTH + 30, _TOP + _HEIGHT + 110, title)
    kept_directions = [directions[camera] for camera in kept if camera in directions]
    for corner, size, tint in _tinted_boxes(kept_directions):
        drawing.box(corner, size, tint)
    _draw_axes(drawing)
    _draw_largest_gap(drawing, [azimuth for azimuth, _ in kept_directions])
    for camera in sorted(directions, key=lambda camera: (camera in kept, camera in available)):
        _draw_camera(drawing, camera, directions[camera], kept, available)
    _draw_header(drawing, title, kept)
    hollow = sum(camera in directions and camera not in kept for camera in available)
    absent = sum(camera not in kept and camera not in available for camera in directions)
    _draw_legend(drawing, len(kept), hollow, absent)
    return str(drawing)


def _point(azimuth: float, elevation: float) -> Point:
    low, high = _ELEVATION_RANGE
    return _LEFT + (azimuth + 180) / 360 * _WIDTH, _TOP + (high - elevation) / (high - low) * _HEIGHT


def _tinted_boxes(kept: list[tuple[float, float]]) -> Iterator[tuple[Point, Size, str]]:
    """Yield boxes (corner, size, tint), each a run of equal tint in a row of the map."""
    low, high = _ELEVATION_RANGE
    azimuths = np.arange(-180, 180, _TINT_STEP) + _TINT_STEP / 2
    kept_vectors = _unit_vectors(np.array(kept).reshape(-1, 2))
    for elevation in np.arange(high, low, -_TINT_STEP) - _TINT_STEP / 2:
        row = _unit_vectors(np.stack([azimuths, np.full(azimuths.size, elevation)], axis=1))
        nearest = np.degrees(np.arccos(np.clip(row @ kept_vectors.T, -1, 1))).min(axis=1, initial=180.0)
        bands = np.searchsorted([limit for limit, _ in _TINT_LIMITS], nearest)
        edges = np.flatnonzero(np.diff(bands, prepend=-1, append=-1)).tolist()
        for start, end in pairwise(edges):
            corner = _point(-180 + start * _TINT_STEP, elevation + _TINT_STEP / 2)
            width = (end - start) * _TINT_STEP / 360 * _WIDTH + 0.3
            yield corner, (width, _TINT_STEP / (high - low) * _HEIGHT + 0.3), _TINT_LIMITS[int(bands[start])][1]


def _unit_vectors(angles: Array) -> Array:
    """Return unit vectors (N, 3) of azimuth and elevation (N, 2) in degrees."""
    azimuth, elevation = np.radians(angles).T
    level = np.cos(elevation)
    return np.stack([level * np.sin(azimuth), np.sin(elevation), level * np.cos(azimuth)], axis=1)


def _draw_axes(drawing: Drawing) -> None:
    bottom, top = _ELEVATION_RANGE
    for azimuth in range(-180, 181, 30):
        drawing.line(_point(azimuth, bottom), _point(azimuth, top), FAINT)
        x, y = _point(azimuth, bottom)
        drawing.text((x, y + 16), f"{degrees_text(azimuth)}°", 11, MUTED, "middle")
    for azimuth, side in SIDES:
        x, y = _point(azimuth, bottom)
        drawing.text((x, y + 34), side, 13, INK if side == "face" else MUTED, "middle")
    for elevation in range(-30, 31, 15):
        drawing.line(_point(-180, elevation), _point(180, elevation), FAINT)
        x, y = _point(-180, elevation)
        drawing.text((x - 8, y + 4), f"{degrees_text(elevation)}°", 11, MUTED, "end")
    drawing.text((18, _TOP - 8), "elevation", 11, MUTED)


def _draw_largest_gap(drawing: Drawing, azimuths: list[float]) -> None:
    """Draw a bracket over the largest azimuth gap between neighbours; it may go round the back."""
    if len(azimuths) < 2:
        return
    ordered = sorted(azimuths)
    gaps = [(after - before) % 360 for before, after in zip(ordered, [*ordered[1:], ordered[0]], strict=True)]
    largest = int(np.argmax(gaps))
    start, end = ordered[largest], ordered[largest] + gaps[largest]
    y = _TOP - 10
    pieces = [(start, end)] if end <= 180 else [(start, 180.0), (-180.0, end - 360)]
    for first, last in pieces:
        drawing.line((_point(first, 0)[0], y), (_point(last, 0)[0], y), BAD, 2)
    for angle in (start, end - 360 if end > 180 else end):
        drawing.line((_point(angle, 0)[0], y - 5), (_point(angle, 0)[0], y + 5), BAD, 2)
    longest = max(pieces, key=lambda piece: piece[1] - piece[0])
    x = min(max(_point(sum(longest) / 2, 0)[0], _LEFT + 60), _LEFT + _WIDTH - 60)
    drawing.text((x, y - 8), f"largest gap {gaps[largest]:.1f}°", 12, BAD, "middle")


def _draw_camera(
    drawing: Drawing, camera: str, direction: tuple[float, float], kept: Collection[str], available: Collection[str]
) -> None:
    x, y = _point(*direction)
    tier = rig()[camera].tier if camera in rig() else "middle"
    if camera in kept:
        drawing.circle((x, y), 11, TIER_COLOURS[tier])
        drawing.text((x, y + 4), camera, 11, PAPER, "middle", "bold")
    elif camera in available:
        drawing.circle((x, y), 10, PAPER, TIER_COLOURS[tier])
        drawing.text((x, y + 4), camera, 11, TIER_COLOURS[tier], "middle")
    else:
        _draw_cross(drawing, (x, y))
        drawing.text((x + 6, y - 5), camera, 10, MUTED)


def _draw_cross(drawing: Drawing, centre: Point) -> None:
    x, y = centre
    drawing.line((x - 4, y - 4), (x + 4, y + 4), MUTED, 1.5)
    drawing.line((x - 4, y + 4), (x + 4, y - 4), MUTED, 1.5)


def _draw_header(drawing: Drawing, title: str, kept: Collection[str]) -> None:
    covered = coverage(kept)
    tiers = ", ".join(f"{covered.tiers.get(tier, 0)} {tier}" for tier in TIERS)
    numbers = f"{len(kept)} kept ({tiers});  largest azimuth gap {covered.gap:.1f}°;"
    numbers += f"  worst direction {covered.worst:.1f}° from a kept camera, mean {covered.mean:.1f}°"
    drawing.text((18, 32), title, 20, INK)
    drawing.text((18, 56), numbers, 14, INK)


def _draw_legend(drawing: Drawing, kept: int, available: int, absent: int) -> None:
    x, y = 26.0, _TOP + _HEIGHT + 66.0
    drawing.circle((x, y - 4), 8, INK)
    drawing.text((x + 14, y), f"kept {kept}", 12)
    drawing.circle((x + 96, y - 4), 7, PAPER, INK)
    drawing.text((x + 110, y), f"available {available}", 12)
    _draw_cross(drawing, (x + 217, y - 4))
    drawing.text((x + 228, y), f"absent {absent}", 12)
    for column, tier in enumerate(TIERS):
        drawing.circle((x + 360 + 185 * column, y - 4), 6, TIER_COLOURS[tier])
        drawing.text((x + 372 + 185 * column, y), f"{tier} ({TIER_ELEVATIONS[tier]}°)", 12)
    y += 26
    drawing.text((x - 8, y), "tint: angle to the nearest kept camera", 12, MUTED)
    for column, (limit, tint) in enumerate(_TINT_LIMITS):
        drawing.box((x + 354 + 100 * column, y - 12), (18, 15), tint, FAINT)
        drawing.text((x + 378 + 100 * column, y), f"to {limit:.0f}°" if limit < 180 else "farther", 12)
