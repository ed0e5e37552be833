"""The panel of every frame of every camera: a row for each camera, coloured by the state of its frames."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rm360_async.domain.cameras.rig import rig
from rm360_async.domain.check_status import CheckState
from rm360_async.visualization.report.frame_grid import FrameGrid, FrameState, read_frame_grid
from rm360_async.visualization.report.page_data import PageData
from rm360_async.visualization.report.panels.panel import Panel
from rm360_async.visualization.svg import Drawing
from rm360_async.visualization.theme import BAD, FAINT, GOOD, MUTED, TIER_COLOURS, WARN

MAX_COLUMNS = 500
"""Columns of the drawing; if there are more frames, a column shows the worst of its frames."""
MAX_LINES = 12
_WIDTH, _ROW_HEIGHT, _LEFT, _TOP, _RIGHT = 1000.0, 10.0, 40.0, 10.0, 150.0
_COLOURS = {
    FrameState.THERE: GOOD,
    FrameState.NO_MASK: "#2673c4",
    FrameState.SMALL: "#d47a1f",
    FrameState.MISSING: WARN,
    FrameState.BROKEN: "#7a4db3",
    FrameState.GONE: BAD,
}


def frames_panel(data: PageData) -> Panel:
    """Return the panel."""
    grid = read_frame_grid(data)
    if not grid.states.size:
        return Panel("presence", "Every frame", CheckState.UNCHECKED, "no images in this folder", {"frames": 0})
    counts = {state: int((grid.states == state).sum()) for state in FrameState}
    problems = grid.problems()
    numbers = {
        "cameras": len(grid.cameras),
        "frames": len(grid.frames),
        **{state.name.lower(): count for state, count in counts.items()},
        "wrong": problems,
    }
    lines = [f"cam_{camera}: {problem}" for camera, problem in problems.items()]
    content = {
        "drawing": str(_draw(data, grid)),
        "legend": [(state.label, _COLOURS[state], counts[state]) for state in FrameState if counts[state]],
        "lines": lines[:MAX_LINES],
        "more": max(0, len(lines) - MAX_LINES),
        "state": _check_state(counts).value,
    }
    state, sentence = _check_state(counts), _sentence(grid, counts)
    return Panel("presence", "Every frame", state, sentence, numbers, content, template="frames")


def _check_state(counts: dict[FrameState, int]) -> CheckState:
    """Return FAIL if the folder has lost frames; what its source lacks, no extraction can give: a warning."""
    if counts[FrameState.GONE]:
        return CheckState.FAIL
    return (
        CheckState.WARN
        if any(counts[state] for state in FrameState if state is not FrameState.THERE)
        else CheckState.OK
    )


def _sentence(grid: FrameGrid, counts: dict[FrameState, int]) -> str:
    parts = [
        f"{counts[state]} {state.label}" for state in FrameState if state is not FrameState.THERE and counts[state]
    ]
    total = f"{len(grid.cameras)} camera{'s' if len(grid.cameras) != 1 else ''} x {len(grid.frames)} frames"
    return f"{total} = {grid.states.size}: " + (", ".join(parts) if parts else "all there")


def _draw(data: PageData, grid: FrameGrid) -> Drawing:
    bottom = _TOP + _ROW_HEIGHT * len(grid.cameras)
    drawing = Drawing(_LEFT + _WIDTH + _RIGHT, bottom + 42, "every frame of every camera")
    _draw_states(drawing, grid)
    for row, camera in enumerate(grid.cameras):
        _draw_label(drawing, data, camera, _TOP + _ROW_HEIGHT * (row + 1) - 1.5)
    _draw_axis(drawing, grid, bottom)
    return drawing


def _draw_states(drawing: Drawing, grid: FrameGrid) -> None:
    """Draw each row in its most frequent state as one stroke, and the others over it: there may be many pieces."""
    columns = min(MAX_COLUMNS, len(grid.frames))
    edges = np.linspace(0, len(grid.frames), columns + 1).round().astype(int)
    pooled = np.maximum.reduceat(grid.states, edges[:-1], axis=1)
    usual = [FrameState(int(np.bincount(row).argmax())) for row in pooled]
    for state in FrameState:
        rows = [row for row, usual_state in enumerate(usual) if usual_state is state]
        strokes = "".join(f"M{_LEFT:g} {_row_centre(row)}h{_WIDTH:g}" for row in rows)
        drawing.path(strokes, "none", _COLOURS[state], _ROW_HEIGHT - 1)
    for state in FrameState:
        others = [(row, states) for row, states in enumerate(pooled) if usual[row] is not state]
        strokes = "".join(_run_strokes(states == state, row) for row, states in others)
        drawing.path(strokes, "none", _COLOURS[state], _ROW_HEIGHT - 1)


def _row_centre(row: int) -> int:
    return round(_TOP + _ROW_HEIGHT * row + _ROW_HEIGHT / 2)


def _run_strokes(mask: NDArray[np.bool_], row: int) -> str:
    """Return the path commands of the columns of a row at which the mask is true, in whole numbers."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0)).tolist()
    width, y = _WIDTH / len(mask), _row_centre(row)
    runs = zip(edges[::2], edges[1::2], strict=True)
    return "".join(f"M{_LEFT + start * width:.0f} {y}h{max(2.0, (end - start) * width):.0f}" for start, end in runs)


def _draw_label(drawing: Drawing, data: PageData, camera: str, y: float) -> None:
    tier = rig()[camera].tier if camera in rig() else ""
    drawing.text((_LEFT - 6, y), camera, 9, TIER_COLOURS.get(tier, MUTED), "end")
    sizes: Any = list(data.inventory.images.get(camera, {}).values())
    median = f", {np.median(sizes) / 1024:.0f} KB each" if sizes and max(sizes) else ""
    drawing.text((_LEFT + _WIDTH + 8, y), f"{len(sizes)}{median}", 9, MUTED)


def _draw_axis(drawing: Drawing, grid: FrameGrid, y: float) -> None:
    last = len(grid.frames) - 1
    columns = [round(last * part / 4) for part in range(5)]
    for part, column in enumerate(columns):
        x = _LEFT + (column + 0.5) / len(grid.frames) * _WIDTH
        drawing.line((x, y + 2), (x, y + 8), FAINT)
        if part == 0 or column != columns[part - 1]:
            drawing.text((x, y + 22), str(grid.frames[column]), 12, MUTED, "middle")
    drawing.text((_LEFT + _WIDTH / 2, y + 38), "frame", 12, MUTED, "middle")
