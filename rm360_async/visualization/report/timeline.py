"""Bytes over time: what was published, as a rising line, and what was fetched in each stretch, as bars."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from rm360_async.domain.formatting import duration_text, size_text
from rm360_async.visualization.svg import ANCHORS, Drawing
from rm360_async.visualization.theme import FAINT, GOOD, INK, MUTED

TimedBytes = Sequence[tuple[float, int]]
"""Unix seconds and bytes."""

_WIDE, _HIGH, _LEFT, _TOP = 440.0, 130.0, 66.0, 22.0
_BARS = 55


def storage_plot(published: TimedBytes) -> Drawing:
    """Draw how the bytes in published folders grew."""
    times, sizes = _sorted(published)
    total = np.cumsum(sizes)
    drawing, start, end = _frame("published", times, float(total[-1]))
    x = _LEFT + (times - start) / (end - start) * _WIDE
    y = _TOP + _HIGH * (1 - total / max(1.0, float(total[-1])))
    kept = np.unique(np.linspace(0, len(x) - 1, min(400, len(x))).astype(int))
    steps = "".join(f"H{a:.1f}V{b:.1f}" for a, b in zip(x[kept], y[kept], strict=True))
    drawing.path(f"M{_LEFT:g} {_TOP + _HIGH:g}{steps}H{_LEFT + _WIDE:g}", "none", GOOD, 2.5)
    return drawing


def download_plot(fetched: TimedBytes) -> Drawing:
    """Draw the bytes that crossed the network, by the time at which their attempt ended."""
    times, sizes = _sorted(fetched)
    start, end = _span(times)
    bars, edges = np.histogram(times, _BARS, (start, end), weights=sizes)
    drawing, _, _ = _frame("fetched", times, float(bars.max()))
    width = _WIDE / _BARS
    for at, size in enumerate(bars.tolist()):
        high = _HIGH * size / max(1.0, float(bars.max()))
        if high:
            drawing.box((_LEFT + at * width, _TOP + _HIGH - high), (width - 1, high), INK)
    stretch = f"a bar is {duration_text(float(edges[1] - edges[0]))}"
    drawing.text((_LEFT + _WIDE, _TOP - 8), stretch, 13, MUTED, "end")
    return drawing


def _sorted(events: TimedBytes) -> tuple[NDArray[np.float64], ...]:
    ordered = np.array(sorted(events), np.float64).reshape(-1, 2)
    return ordered[:, 0], ordered[:, 1]


def _span(times: NDArray[np.float64]) -> tuple[float, float]:
    """Return a span of time that has all events, and some length."""
    start, end = float(times[0]), float(times[-1])
    room = max(1.0, 0.01 * (end - start))
    return start - room, end + room


def _frame(title: str, times: NDArray[np.float64], most: float) -> tuple[Drawing, float, float]:
    start, end = _span(times)
    drawing = Drawing(_LEFT + _WIDE + 20, _TOP + _HIGH + 34, title)
    for part in range(5):
        y = _TOP + _HIGH * (1 - part / 4)
        drawing.line((_LEFT, y), (_LEFT + _WIDE, y), FAINT)
        drawing.text((_LEFT - 8, y + 5), size_text(most * part / 4), 13, MUTED, "end")
    pattern = "%Y-%m-%d" if end - start > 3 * 86400 else "%d %b %H:%M" if end - start > 300 else "%H:%M:%S"
    for part in range(3):
        moment = datetime.fromtimestamp(start + (end - start) * part / 2)
        anchor = ANCHORS[part]
        drawing.text((_LEFT + _WIDE * part / 2, _TOP + _HIGH + 22), moment.strftime(pattern), 13, MUTED, anchor)
    return drawing, start, end
