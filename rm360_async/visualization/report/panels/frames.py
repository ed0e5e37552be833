"""The presence strip: every frame of every camera, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rm360_async.domain.cameras.rig import rig
from rm360_async.domain.check_status import CheckState
from rm360_async.domain.formatting import number_ranges
from rm360_async.visualization.report.page_data import PageData
from rm360_async.visualization.report.panels.panel import Panel
from rm360_async.visualization.svg import Drawing
from rm360_async.visualization.theme import BAD, FAINT, GOOD, INK, MUTED, TIER_COLOURS, WARN

StateArray = NDArray[np.uint8]

_COLUMNS = 500
"""Most columns of the strip; where frames are more, a column shows the worst of its frames."""
_WIDE, _ROW, _LEFT, _TOP, _RIGHT = 1000.0, 10.0, 40.0, 10.0, 150.0
_SMALL = 1 / 3
"""A picture of fewer bytes than this share of its camera's median is suspicious: black, or cut short."""
_LINES = 12


class FrameState(IntEnum):
    """What there is of a frame, from good to bad."""

    THERE = 0
    NO_MASK = 1
    SMALL = 2
    MISSING = 3
    BROKEN = 4
    GONE = 5


LABELS = {
    FrameState.THERE: ("there", GOOD),
    FrameState.NO_MASK: ("without mask", "#2673c4"),
    FrameState.SMALL: ("suspiciously small", WARN),
    FrameState.MISSING: ("missing in the source", BAD),
    FrameState.BROKEN: ("broken in the source", "#7a4db3"),
    FrameState.GONE: ("gone since it was published", INK),
}
"""The word for each and its colour."""


@dataclass(frozen=True)
class FrameGrid:
    """Cameras, the numbers of the frames, and what there is of each (cameras, frames)."""

    cameras: tuple[str, ...]
    frames: tuple[int, ...]
    grid: StateArray


def read_frame_grid(material: PageData) -> FrameGrid:
    """Return what there is of every frame that there should be, in every camera that should have images."""
    folder, told = material.folder, material.told
    left_out = [item for item in (folder.record.left_out if folder.record else ()) if item.modality == "images"]
    images = material.inventory.images
    lost = [camera for camera in rig() if camera not in images and folder.camera_absence(camera) in ("lost", "broken")]
    cameras = tuple(sorted({*images, *lost}, key=_round_the_head))
    known = {frame for frames in (*images.values(), *told.missing.values()) for frame in frames}
    known |= {item.frame for item in left_out if item.frame is not None}
    key_frames = folder.released is not None and folder.released.key_frames
    frames = tuple(sorted(known)) if key_frames else tuple(range(max(known, default=-1) + 1))
    grid = np.full((len(cameras), len(frames)), FrameState.MISSING, np.uint8)
    at = {frame: column for column, frame in enumerate(frames)}
    for row, camera in enumerate(cameras):
        _fill(material, grid[row], at, camera)
    rows = {camera: row for row, camera in enumerate(cameras)}
    for item in left_out:
        if item.frame in at and item.camera in rows:
            grid[rows[item.camera], at[item.frame]] = FrameState.BROKEN
    return FrameGrid(cameras, frames, grid)


def _round_the_head(camera: str) -> tuple[float, str]:
    return (rig()[camera].azimuth if camera in rig() else 999.0), camera


def _fill(material: PageData, row: StateArray, at: dict[int, int], camera: str) -> None:
    sizes = material.inventory.images.get(camera, {})
    there = material.folder.frames.get(camera, {})
    masked = material.inventory.masks.get(camera, {})
    wants_masks = bool(material.inventory.masks)
    least = _SMALL * float(np.median(list(sizes.values()))) if sizes else 0.0
    for frame, size in sizes.items():
        if frame not in there:
            state = FrameState.GONE
        elif size < least:
            state = FrameState.SMALL
        else:
            state = FrameState.NO_MASK if wants_masks and frame not in masked else FrameState.THERE
        row[at[frame]] = state


def frames_panel(material: PageData) -> Panel:
    """Return the panel."""
    strip = read_frame_grid(material)
    counts = {state: int((strip.grid == state).sum()) for state in FrameState}
    bad = sum(counts[state] for state in FrameState if state >= FrameState.MISSING)
    state = (
        CheckState.FAIL
        if bad
        else CheckState.WARN
        if counts[FrameState.SMALL] or counts[FrameState.NO_MASK]
        else CheckState.OK
    )
    if not strip.grid.size:
        return Panel("presence", "Every frame", CheckState.UNCHECKED, "no images in this folder", {"frames": 0})
    told = {camera: _told(strip, row) for camera, row in zip(strip.cameras, strip.grid, strict=True)}
    wrong = {camera: what for camera, what in told.items() if what}
    numbers = {
        "cameras": len(strip.cameras),
        "frames": len(strip.frames),
        **{state.name.lower(): count for state, count in counts.items()},
        "wrong": wrong,
    }
    legend = [{"word": LABELS[state][0], "colour": LABELS[state][1], "count": counts[state]} for state in FrameState]
    lines = [f"cam_{camera}: {what}" for camera, what in wrong.items()]
    drawn = {
        "drawing": str(_draw(material, strip)),
        "legend": [each for each in legend if each["count"]],
        "lines": lines[:_LINES],
        "more": max(0, len(lines) - _LINES),
    }
    return Panel("presence", "Every frame", state, _sentence(strip, counts), numbers, drawn)


def _sentence(strip: FrameGrid, counts: dict[FrameState, int]) -> str:
    parts = [
        f"{counts[state]} {LABELS[state][0]}" for state in FrameState if state is not FrameState.THERE and counts[state]
    ]
    total = f"{len(strip.cameras)} camera{'s' if len(strip.cameras) != 1 else ''} x {len(strip.frames)} frames"
    return f"{total} = {strip.grid.size}: " + (", ".join(parts) if parts else "all there")


def _told(strip: FrameGrid, row: StateArray) -> str:
    """Return what is wrong in a camera: frames by what there is of them."""
    parts = []
    for state in FrameState:
        columns = np.flatnonzero(row == state) if state is not FrameState.THERE else ()
        if len(columns):
            parts.append(f"{LABELS[state][0]}: {number_ranges(strip.frames[column] for column in columns)}")
    return "; ".join(parts)


def _draw(material: PageData, strip: FrameGrid) -> Drawing:
    high = _TOP + _ROW * len(strip.cameras)
    drawing = Drawing(_LEFT + _WIDE + _RIGHT, high + 42, "every frame of every camera")
    columns = min(_COLUMNS, len(strip.frames))
    edges = np.linspace(0, len(strip.frames), columns + 1).round().astype(int)
    pooled = np.maximum.reduceat(strip.grid, edges[:-1], axis=1)
    usual = [FrameState(int(np.bincount(row).argmax())) for row in pooled]
    for (
        state
    ) in FrameState:  # first what a row mostly is, as one stroke, then all else over it: there may be much of it
        whole = [at for at, most in enumerate(usual) if most is state]
        drawing.path("".join(f"M{_LEFT:g} {_middle(at)}h{_WIDE:g}" for at in whole), "none", LABELS[state][1], _ROW - 1)
    for state in FrameState:
        rows = [(at, row) for at, row in enumerate(pooled) if usual[at] is not state]
        drawing.path("".join(_runs(row == state, at) for at, row in rows), "none", LABELS[state][1], _ROW - 1)
    for at, camera in enumerate(strip.cameras):
        _label(drawing, material, camera, _TOP + _ROW * (at + 1) - 1.5)
    _axis(drawing, strip, high)
    return drawing


def _middle(at: int) -> int:
    return round(_TOP + _ROW * at + _ROW / 2)


def _runs(chosen: NDArray[np.bool_], at: int) -> str:
    """Return the steps of what is chosen in a row of the strip, in whole numbers."""
    edges = np.flatnonzero(np.diff(chosen.astype(np.int8), prepend=0, append=0)).tolist()
    width, y = _WIDE / len(chosen), _middle(at)
    runs = zip(edges[::2], edges[1::2], strict=True)
    return "".join(f"M{_LEFT + start * width:.0f} {y}h{max(2.0, (end - start) * width):.0f}" for start, end in runs)


def _label(drawing: Drawing, material: PageData, camera: str, y: float) -> None:
    tier = rig()[camera].tier if camera in rig() else ""
    drawing.text((_LEFT - 6, y), camera, 9, TIER_COLOURS.get(tier, MUTED), "end")
    sizes: Any = list(material.inventory.images.get(camera, {}).values())
    middle = f", {np.median(sizes) / 1024:.0f} KB each" if sizes and max(sizes) else ""
    drawing.text((_LEFT + _WIDE + 8, y), f"{len(sizes)}{middle}", 9, MUTED)


def _axis(drawing: Drawing, strip: FrameGrid, y: float) -> None:
    count = len(strip.frames)
    for part in range(5):
        column = round((count - 1) * part / 4)
        x = _LEFT + (column + 0.5) / count * _WIDE
        drawing.line((x, y + 2), (x, y + 8), FAINT)
        if not part or column != round((count - 1) * (part - 1) / 4):
            drawing.text((x, y + 22), str(strip.frames[column]), 12, MUTED, "middle")
    drawing.text((_LEFT + _WIDE / 2, y + 38), "frame", 12, MUTED, "middle")
