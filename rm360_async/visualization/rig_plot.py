"""The rig from above and from the side, to scale: cameras with their frustums, the face, and the checks' results."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rm360_async.domain.cameras.calibration.checks import CalibrationResult, CameraPosition
from rm360_async.domain.cameras.coverage import TIERS
from rm360_async.domain.cameras.rig import FACE, Array, head_centre
from rm360_async.domain.check_status import CheckState
from rm360_async.visualization.svg import Drawing, Point
from rm360_async.visualization.theme import BAD, FAINT, INK, MUTED, SKIN, STATE_COLOURS, TIER_COLOURS, UNUSED, WHITE

_PANEL_SIZE = 560
_TOP = 150
_METRES_PER_PANEL = 3.2
_PX_PER_METRE = _PANEL_SIZE / _METRES_PER_PANEL
_HALF_VIEW = (0.2596, 0.2172)
"""Half the width and height of the rig's images over their focal length."""
_FRUSTUM_LENGTH_M = 0.13
_HEAD_RADIUS_M = 0.11
_NOSE_LENGTH_M = 0.36
_LABEL_RADIUS_M = {"upper": 0.8, "middle": 1.41, "eye-inner": 0.69, "lower": 1.52}
"""Distance from the head at which ids are written, a ring for each tier."""
_ALWAYS_SHOWN = ("axes meet", "distance", "ids")
"""Checks whose results are shown if none is bad."""
_MAX_CHECKS_SHOWN = 4
_MAX_LINE_CHARS = 180


@dataclass(frozen=True)
class _View:
    """An orthographic view: its left edge, and the world axes (unit vectors) that go right and down on the page."""

    left: float
    name: str
    right: tuple[float, float, float]
    down: tuple[float, float, float]
    left_label: str
    right_label: str

    def project(self, points: ArrayLike, head: Array) -> list[Point]:
        """Return the points on the page of world points (N, 3) m; the head (3,) is in the middle of the panel."""
        offset = np.atleast_2d(np.asarray(points, np.float64)) - head
        x = self.left + _PANEL_SIZE / 2 + offset @ np.array(self.right) * _PX_PER_METRE
        y = _TOP + _PANEL_SIZE / 2 + offset @ np.array(self.down) * _PX_PER_METRE
        return list(zip(x.tolist(), y.tolist(), strict=True))

    @property
    def is_from_above(self) -> bool:
        """Return True if the view is along the world's vertical axis."""
        return self.down[1] == 0


_VIEWS = (
    _View(20, "from above", (1, 0, 0), (0, 0, -1), "subject's right", "subject's left"),
    _View(40 + _PANEL_SIZE, "from the subject's left", (0, 0, 1), (0, 1, 0), "face", "back"),
)


def rig_views(title: str, result: CalibrationResult, kept: Collection[str]) -> str:
    """Return the two views as SVG text; cameras that are not in `kept` are grey."""
    drawing = Drawing(60 + 2 * _PANEL_SIZE, _TOP + _PANEL_SIZE + 60, title)
    head = np.array(result.head) if result.head is not None else head_centre()
    for view in _VIEWS:
        _draw_panel(drawing, view, head)
        for position in sorted(result.positions, key=lambda position: position.id in kept):
            _draw_camera(drawing, view, position, result.matrices, head, position.id in kept)
        _draw_face(drawing, view, head)
    _draw_header(drawing, title, result, kept)
    _draw_tiers(drawing, result)
    return str(drawing)


def _draw_panel(drawing: Drawing, view: _View, head: Array) -> None:
    drawing.box((view.left, _TOP), (_PANEL_SIZE, _PANEL_SIZE), WHITE, FAINT)
    drawing.text((view.left + 12, _TOP + 24), view.name, 15, INK)
    drawing.text((view.left + 12, _TOP + 46), f"\u2190 {view.left_label}", 12, MUTED)
    drawing.text((view.left + _PANEL_SIZE - 12, _TOP + 46), f"{view.right_label} \u2192", 12, MUTED, "end")
    drawing.circle(view.project(head, head)[0], _PX_PER_METRE, "none", FAINT, 1)
    half_metre = 0.5 * _PX_PER_METRE
    x, y = view.left + _PANEL_SIZE - 20 - half_metre, _TOP + _PANEL_SIZE - 18
    drawing.line((x, y), (x + half_metre, y), INK, 2)
    for end in (x, x + half_metre):
        drawing.line((end, y - 5), (end, y + 5), INK, 2)
    drawing.text((x + half_metre / 2, y - 8), "0.5 m", 12, INK, "middle")


def _draw_camera(
    drawing: Drawing, view: _View, position: CameraPosition, matrices: Mapping[str, Array], head: Array, is_kept: bool
) -> None:
    matrix = matrices[position.id]
    image_corners = np.array(_HALF_VIEW) * [(-1, -1), (1, -1), (1, 1), (-1, 1)]
    frustum = np.array([[0.0, 0.0, 0.0], *((x, y, 1.0) for x, y in image_corners)]) * _FRUSTUM_LENGTH_M
    tip, *corners = view.project(frustum @ matrix[:3, :3].T + matrix[:3, 3], head)
    colour = TIER_COLOURS[position.tier] if is_kept else UNUSED
    for first, second in zip(corners, [*corners[1:], corners[0]], strict=True):
        drawing.polygon([tip, first, second], colour, colour, 0.16 if is_kept else 0.05, 0.8)
    drawing.circle(tip, 2.2, colour)
    if view.is_from_above:  # from the side the labels of both halves would overlap
        azimuth = np.radians(position.azimuth)
        offset = _LABEL_RADIUS_M[position.tier] * np.array([np.sin(azimuth), 0.0, -np.cos(azimuth)])
        x, y = view.project(head + offset, head)[0]
        drawing.text((x, y + 4), position.id, 11, colour, "middle")


def _draw_face(drawing: Drawing, view: _View, head: Array) -> None:
    centre = view.project(head, head)[0]
    drawing.circle(centre, _HEAD_RADIUS_M * _PANEL_SIZE / _METRES_PER_PANEL, SKIN, INK, 1.5)
    tip = view.project(head + FACE * _NOSE_LENGTH_M, head)[0]
    drawing.arrow(centre, tip, INK)
    drawing.circle(centre, 2.5, INK)
    dx, dy = tip[0] - centre[0], tip[1] - centre[1]
    drawing.text((tip[0] + dx * 0.14 - 14 * (dx < 0), tip[1] + dy * 0.14 + 8), "face", 12, INK, "middle")


def _draw_header(drawing: Drawing, title: str, result: CalibrationResult, kept: Collection[str]) -> None:
    drawing.text((20, 34), title, 20, INK)
    drawing.text((20, 58), f"calibration: {result.state.value}", 15, STATE_COLOURS[result.state.value], weight="bold")
    counts = f"{len(kept)} of {len(result.positions)} cameras have images"
    drawing.text((210, 58), f"read as {result.convention}; {counts}", 14, INK)
    bad = [check for check in result.checks if check.state in (CheckState.FAIL, CheckState.WARN)]
    shown = bad or [check for check in result.checks if check.name in _ALWAYS_SHOWN]
    lines = [
        (_shortened(f"{check.name}: {check.sentence}"), STATE_COLOURS[check.state.value])
        for check in shown[:_MAX_CHECKS_SHOWN]
    ]
    drawing.lines_of_text((20, 82), lines, 12)


def _draw_tiers(drawing: Drawing, result: CalibrationResult) -> None:
    x, y = 20.0, _TOP + _PANEL_SIZE + 30
    for tier in TIERS:
        count = sum(position.tier == tier for position in result.positions)
        drawing.circle((x + 6, y), 5, TIER_COLOURS[tier])
        drawing.text((x + 16, y + 4), f"{tier} {count}", 13)
        x += 110
    if result.failures:
        drawing.text((1160, 34), "FAILED", 16, BAD, "end", "bold")


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_LINE_CHARS else text[: _MAX_LINE_CHARS - 3] + "..."
