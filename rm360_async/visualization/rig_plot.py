"""The rig from above and from the side, to scale: cameras with their view, the face, and the numbers of the checks."""

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

_PANEL = 560
_TOP = 150
_SPAN = 3.2
"""Metres across a panel."""
_HALF_VIEW = (0.2596, 0.2172)
"""Half the width and height of the rig's images over their focal length."""
_DEPTH = 0.13
"""Length of a drawn frustum in metres."""
_HEAD_RADIUS = 0.11


@dataclass(frozen=True)
class _View:
    """An orthographic view: where it lies, and the world axes (unit vectors) that go right and down on the page."""

    left: float
    name: str
    right: tuple[float, float, float]
    down: tuple[float, float, float]
    far: str
    near: str

    def at(self, points: ArrayLike, head: Array) -> list[Point]:
        """Return the places on the page of world points (N, 3), the head in the middle."""
        scale = _PANEL / _SPAN
        offset = np.atleast_2d(np.asarray(points, np.float64)) - head
        x = self.left + _PANEL / 2 + offset @ np.array(self.right) * scale
        y = _TOP + _PANEL / 2 + offset @ np.array(self.down) * scale
        return list(zip(x.tolist(), y.tolist(), strict=True))


_VIEWS = (
    _View(20, "from above", (1, 0, 0), (0, 0, -1), "subject's right", "subject's left"),
    _View(40 + _PANEL, "from the subject's left", (0, 0, 1), (0, 1, 0), "face", "back"),
)


def rig_views(title: str, report: CalibrationResult, kept: Collection[str]) -> str:
    """Return the two views as SVG text; cameras that are not kept are drawn grey."""
    drawing = Drawing(60 + 2 * _PANEL, _TOP + _PANEL + 60, title)
    head = np.array(report.head) if report.head is not None else head_centre()
    for view in _VIEWS:
        _panel(drawing, view, head)
        for standing in sorted(report.positions, key=lambda each: each.id in kept):
            _camera(drawing, view, standing, report.matrices, head, standing.id in kept)
        _face(drawing, view, head)
    _words(drawing, title, report, kept)
    return str(drawing)


def _panel(drawing: Drawing, view: _View, head: Array) -> None:
    drawing.box((view.left, _TOP), (_PANEL, _PANEL), WHITE, FAINT)
    drawing.text((view.left + 12, _TOP + 24), view.name, 15, INK)
    drawing.text((view.left + 12, _TOP + 46), f"\u2190 {view.far}", 12, MUTED)
    drawing.text((view.left + _PANEL - 12, _TOP + 46), f"{view.near} \u2192", 12, MUTED, "end")
    middle = view.at(head, head)[0]
    drawing.circle(middle, _PANEL / _SPAN, "none", FAINT, 1)
    unit = 0.5 * _PANEL / _SPAN
    x, y = view.left + _PANEL - 20 - unit, _TOP + _PANEL - 18
    drawing.line((x, y), (x + unit, y), INK, 2)
    for end in (x, x + unit):
        drawing.line((end, y - 5), (end, y + 5), INK, 2)
    drawing.text((x + unit / 2, y - 8), "0.5 m", 12, INK, "middle")


def _camera(
    drawing: Drawing, view: _View, standing: CameraPosition, matrices: Mapping[str, Array], head: Array, kept: bool
) -> None:
    matrix = matrices[standing.id]
    half = np.array(_HALF_VIEW)
    corners = [(x, y, 1.0) for x, y in half * [(-1, -1), (1, -1), (1, 1), (-1, 1)]]
    rim = np.array([[0.0, 0.0, 0.0], *corners]) * _DEPTH
    places = view.at(rim @ matrix[:3, :3].T + matrix[:3, 3], head)
    colour = TIER_COLOURS[standing.tier] if kept else UNUSED
    for first, second in ((1, 2), (2, 3), (3, 4), (4, 1)):
        drawing.polygon([places[0], places[first], places[second]], colour, colour, 0.16 if kept else 0.05, 0.8)
    drawing.circle(places[0], 2.2, colour)
    if view.down[1] == 0:  # from above; from the side the labels of both halves would lie on each other
        azimuth = np.radians(standing.azimuth)
        out = _LABEL_RADIUS[standing.tier] * np.array([np.sin(azimuth), 0.0, -np.cos(azimuth)])
        x, y = view.at(head + out, head)[0]
        drawing.text((x, y + 4), standing.id, 11, colour, "middle")


_LABEL_RADIUS = {"upper": 0.8, "middle": 1.41, "eye-inner": 0.69, "lower": 1.52}
"""Metres from the head at which ids are written, a ring for each tier."""


def _face(drawing: Drawing, view: _View, head: Array) -> None:
    middle = view.at(head, head)[0]
    drawing.circle(middle, _HEAD_RADIUS * _PANEL / _SPAN, SKIN, INK, 1.5)
    tip = view.at(head + FACE * 0.36, head)[0]
    drawing.arrow(middle, tip, INK)
    drawing.circle(middle, 2.5, INK)
    away = (tip[0] - middle[0], tip[1] - middle[1])
    drawing.text((tip[0] + away[0] * 0.14 - 14 * (away[0] < 0), tip[1] + away[1] * 0.14 + 8), "face", 12, INK, "middle")


def _words(drawing: Drawing, title: str, report: CalibrationResult, kept: Collection[str]) -> None:
    drawing.text((20, 34), title, 20, INK)
    drawing.text((20, 58), f"calibration: {report.state.value}", 15, STATE_COLOURS[report.state.value], weight="bold")
    counted = f"{len(kept)} of {len(report.positions)} cameras have images"
    drawing.text((210, 58), f"read as {report.convention}; {counted}", 14, INK)
    bad = [check for check in report.checks if check.state in (CheckState.FAIL, CheckState.WARN)]
    told = bad or [check for check in report.checks if check.name in ("axes meet", "distance", "ids")]
    lines = [(f"{check.name}: {check.sentence}", STATE_COLOURS[check.state.value]) for check in told[:4]]
    drawing.lines_of_text((20, 82), [(_shortened(text), colour) for text, colour in lines], 12)
    x = 20.0
    for tier in TIERS:
        count = sum(standing.tier == tier for standing in report.positions)
        drawing.circle((x + 6, _TOP + _PANEL + 30), 5, TIER_COLOURS[tier])
        drawing.text((x + 16, _TOP + _PANEL + 34), f"{tier} {count}", 13)
        x += 110
    if report.failures:
        drawing.text((1160, 34), "FAILED", 16, BAD, "end", "bold")


def _shortened(text: str) -> str:
    return text if len(text) <= 180 else text[:177] + "..."
