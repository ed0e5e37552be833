"""The summary as a plot: a row for each performance and each subject, with states, frames, cameras and size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rm360_async.domain.formatting import size_text
from rm360_async.visualization.raster import Raster, write_output_file
from rm360_async.visualization.report.run_data import PerformanceEntry, PerformanceState
from rm360_async.visualization.summary.tally import Spread, Tally, by_performance, by_subject, tally
from rm360_async.visualization.svg import Canvas, Drawing
from rm360_async.visualization.theme import FAINT, INK, MUTED, PERFORMANCE_COLOURS

_ROW_HEIGHT, _HEADER_HEIGHT, _WIDTH, _MARGIN = 22, 92, 1160, 24
_STATES_X, _CAMERAS_X, _FRAMES_X, _SIZE_X = 156, 470, 560, 850
"""Left edges of the columns."""
_STATES_WIDTH, _FRAMES_WIDTH, _SIZE_WIDTH = 250, 150, 200
"""Lengths of the longest bars."""
MAX_SUBJECT_ROWS = 40
"""With more subjects than this, neighbours share a row."""


def write_plot(entries: Sequence[PerformanceEntry], title: str, path: Path) -> None:
    """Write the plot as a PNG if the path ends in .png, or else as an SVG; raise Fault if it cannot be written."""
    tables = {"by performance": by_performance(entries), "by subject": _by_subjects(entries)}
    height = _HEADER_HEIGHT + sum(_ROW_HEIGHT * (len(table) + 3) for table in tables.values()) + 10
    if path.suffix.lower() == ".png":
        raster = Raster(_WIDTH, height)
        _draw(raster, entries, title, tables)
        raster.save(path)
        return
    drawing = Drawing(_WIDTH, height, title)
    _draw(drawing, entries, title, tables)
    write_output_file(path, str(drawing).encode(errors="backslashreplace"))


def _by_subjects(entries: Sequence[PerformanceEntry]) -> dict[str, Tally]:
    """Return the sums of subjects, or of as many neighbours together as keep the plot readable."""
    subjects = list(by_subject(entries))
    group_size = -(-len(subjects) // MAX_SUBJECT_ROWS)
    if group_size <= 1:
        return by_subject(entries)
    groups = [subjects[start : start + group_size] for start in range(0, len(subjects), group_size)]
    names = {subject: f"{group[0]}-{group[-1][-3:]}" for group in groups for subject in group}
    by_name: dict[str, list[PerformanceEntry]] = {}
    for entry in sorted(entries, key=lambda entry: entry.subject):
        by_name.setdefault(names[entry.subject], []).append(entry)
    return {name: tally(group) for name, group in by_name.items()}


def _draw(
    canvas: Canvas, entries: Sequence[PerformanceEntry], title: str, tables: Mapping[str, Mapping[str, Tally]]
) -> None:
    total = tally(entries)
    canvas.text((_MARGIN, 34), title, 20, INK)
    subjects = len(by_subject(entries))
    line = f"{total.performances} performances of {subjects} subjects, {size_text(total.bytes)} published"
    canvas.text((_MARGIN, 58), line, 14, INK)
    x = float(_MARGIN)
    for state in PerformanceState:
        canvas.box((x, 70), (12, 12), PERFORMANCE_COLOURS[state.value])
        canvas.text((x + 17, 81), f"{state.value} {total.states[state]}", 12, INK)
        x += 130
    y = float(_HEADER_HEIGHT)
    for name, table in tables.items():
        y = _draw_table(canvas, name, table, y)


@dataclass(frozen=True)
class _Scale:
    """Pixels for each performance, frame and byte."""

    performance: float
    frame: float
    byte: float


def _scale_of(table: Mapping[str, Tally]) -> _Scale:
    return _Scale(
        _STATES_WIDTH / max((row.performances for row in table.values()), default=1),
        _FRAMES_WIDTH / (max((row.frames[2] for row in table.values()), default=1) or 1),
        _SIZE_WIDTH / (max((row.bytes for row in table.values()), default=1) or 1),
    )


def _draw_table(canvas: Canvas, name: str, table: Mapping[str, Tally], y: float) -> float:
    """Draw one table of bars; return where it ends."""
    y += _ROW_HEIGHT * 1.6
    canvas.text((_MARGIN, y), name, 15, INK)
    headings = {_STATES_X: "state", _CAMERAS_X: "cameras", _FRAMES_X: "frames", _SIZE_X: "size"}
    for x, heading in headings.items():
        canvas.text((x, y), heading, 12, MUTED)
    y += 8
    scale = _scale_of(table)
    for label, row in table.items():
        _draw_row(canvas, label, row, y, scale)
        y += _ROW_HEIGHT
    return y


def _draw_row(canvas: Canvas, label: str, row: Tally, y: float, scale: _Scale) -> None:
    baseline = y + _ROW_HEIGHT - 7
    canvas.text((_MARGIN, baseline), label, 12, INK)
    x = float(_STATES_X)
    for state in PerformanceState:
        width = row.states[state] * scale.performance
        if width:
            canvas.box((x, y + 4), (max(1.0, width - 0.5), _ROW_HEIGHT - 8), PERFORMANCE_COLOURS[state.value])
            x += width
    canvas.text((x + 6, baseline), str(row.performances), 12, MUTED)
    if not row.frames[2]:
        return
    canvas.text((_CAMERAS_X, baseline), _spread_text(row.cameras), 12, INK)
    _draw_frames(canvas, row.frames, y, scale.frame)
    width = row.bytes * scale.byte
    canvas.box((_SIZE_X, y + 4), (max(1.0, width), _ROW_HEIGHT - 8), MUTED)
    canvas.text((_SIZE_X + width + 8, baseline), size_text(row.bytes), 12, INK)


def _draw_frames(canvas: Canvas, frames: Spread, y: float, scale: float) -> None:
    """Draw a thin line up to the most frames, a bar from least to most, and a mark at the median."""
    least, median, most = frames
    canvas.box((_FRAMES_X, y + 10), (max(1.0, most * scale), 2), FAINT)
    canvas.box((_FRAMES_X + least * scale, y + 8), (max(2.0, (most - least) * scale), 6), MUTED)
    canvas.box((_FRAMES_X + median * scale - 1, y + 4), (3, _ROW_HEIGHT - 8), INK)
    canvas.text((_FRAMES_X + most * scale + 8, y + _ROW_HEIGHT - 7), _spread_text(frames), 12, INK)


def _spread_text(values: Spread) -> str:
    """Return `60`, or `38-60` if they differ."""
    return str(values[0]) if values[0] == values[2] else f"{values[0]}-{values[2]}"
