"""Bytes over time: what was published, as a rising line, and the rate of downloads in each interval, as bars."""

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
Download = tuple[float, int, float]
"""The end in unix seconds, the bytes, and the seconds that they took."""
Times = NDArray[np.float64]
"""Unix seconds (N,), sorted."""

_WIDTH, _HEIGHT, _LEFT, _TOP = 600.0, 170.0, 84.0, 22.0
_BARS = 100
_MIN_HEIGHT = 0.2
_MAX_STEPS = 400
_GRID_LINES = 5
_TIME_LABELS = 3
_DAY = 86400.0


def storage_plot(published: TimedBytes) -> Drawing:
    """Draw how the bytes in published folders grew."""
    times, sizes = _sorted_columns(published)
    total = np.cumsum(sizes)
    start, end = _time_range(times)
    drawing = _empty_plot("published", start, end, float(total[-1]))
    x = _LEFT + (times - start) / (end - start) * _WIDTH
    y = _TOP + _HEIGHT * (1 - total / max(1.0, float(total[-1])))
    drawn = np.unique(np.linspace(0, len(x) - 1, min(_MAX_STEPS, len(x))).astype(int))
    steps = "".join(f"H{a:.1f}V{b:.1f}" for a, b in zip(x[drawn], y[drawn], strict=True))
    drawing.path(f"M{_LEFT:g} {_TOP + _HEIGHT:g}{steps}H{_LEFT + _WIDTH:g}", "none", GOOD, 2.5)
    return drawing


def download_plot(downloads: Sequence[Download]) -> Drawing:
    """Draw the download rate over time: the bytes of each attempt are spread over the time in which it downloaded."""
    ended, sizes, seconds = np.array(sorted(downloads), np.float64).reshape(-1, 3).T
    began = ended - np.maximum(seconds, 1.0)
    start, end = _time_range(np.array([began.min(), ended.max()]))
    edges = np.asarray(np.linspace(start, end, _BARS + 1), np.float64)
    rates = bytes_between(edges, began, ended, sizes) / (edges[1] - edges[0])
    highest = float(rates.max())
    drawing = _empty_plot("download rate", start, end, highest, "/s")
    width = _WIDTH / _BARS
    for index, rate in enumerate(rates.tolist()):
        height = _HEIGHT * rate / max(1.0, highest)
        if height >= _MIN_HEIGHT:
            drawing.box((_LEFT + index * width, _TOP + _HEIGHT - height), (width - 1, height), INK)
    interval = f"a bar is {_interval_text(float(edges[1] - edges[0]))}"
    drawing.text((_LEFT + _WIDTH, _TOP - 8), interval, 13, MUTED, "end")
    return drawing


def bytes_between(
    edges: NDArray[np.float64], began: Times, ended: Times, sizes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the bytes in each interval of `edges` (unix seconds) if each size comes evenly from its begin to its end.

    The bytes that have come until a moment are a sum of ramps, so one pass over each end of all ramps is enough.
    """
    order, rates = np.concatenate([began, ended]), sizes / (ended - began)
    slopes = np.concatenate([rates, -rates])
    sorting = np.argsort(order, kind="stable")
    moments, slopes = order[sorting], np.cumsum(slopes[sorting])
    reached = np.concatenate([[0.0], np.cumsum(slopes[:-1] * np.diff(moments))])
    return np.asarray(np.diff(np.interp(edges, moments, reached)).clip(0.0), np.float64)


def _sorted_columns(events: TimedBytes) -> tuple[Times, NDArray[np.float64]]:
    """Return times and bytes, sorted by time."""
    ordered = np.array(sorted(events), np.float64).reshape(-1, 2)
    return ordered[:, 0], ordered[:, 1]


def _time_range(times: Times) -> tuple[float, float]:
    """Return a range that holds all times, with a margin; it is never empty."""
    start, end = float(times[0]), float(times[-1])
    margin = max(1.0, 0.01 * (end - start))
    return start - margin, end + margin


def _empty_plot(title: str, start: float, end: float, highest: float, per: str = "") -> Drawing:
    """Return the drawing with its axes: bytes (`per` time) up to `highest`, dates from `start` to `end`."""
    drawing = Drawing(_LEFT + _WIDTH + 20, _TOP + _HEIGHT + 34, title)
    for line in range(_GRID_LINES):
        share = line / (_GRID_LINES - 1)
        y = _TOP + _HEIGHT * (1 - share)
        drawing.line((_LEFT, y), (_LEFT + _WIDTH, y), FAINT)
        drawing.text((_LEFT - 8, y + 5), size_text(highest * share) + per, 13, MUTED, "end")
    time_format = "%Y-%m-%d" if end - start > 3 * _DAY else "%Y-%m-%d %H:%M"
    time_format += "" if end - start > 300 else ":%S"
    for label in range(_TIME_LABELS):
        share = label / (_TIME_LABELS - 1)
        text = datetime.fromtimestamp(start + (end - start) * share).strftime(time_format)
        drawing.text((_LEFT + _WIDTH * share, _TOP + _HEIGHT + 22), text, 13, MUTED, ANCHORS[label])
    return drawing


def _interval_text(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 10 else duration_text(seconds)
