"""The summary as a plot: a row for each performance and each subject, with how they stand, frames, cameras and size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rm360_async.domain.formatting import size_text
from rm360_async.visualization.raster import Raster, write_output_file
from rm360_async.visualization.report.run_data import PerformanceEntry, PerformanceState
from rm360_async.visualization.summary.tally import Tally, by_performance, by_subject, tally
from rm360_async.visualization.svg import Canvas, Drawing
from rm360_async.visualization.theme import FAINT, INK, MUTED, PERFORMANCE_COLOURS

_ROW, _HEAD, _WIDTH, _MARGIN = 22, 92, 1160, 24
_STATES, _CAMERAS, _FRAMES, _SIZE = (116, 330), (470, 0), (560, 240), (850, 200)
"""Left edge and width of each column."""
_MOST_SUBJECTS = 40
"""With more subjects than this, neighbours share a row."""


def write_plot(rows: Sequence[PerformanceEntry], title: str, path: Path) -> None:
    """Write the plot as a PNG, where the path ends in .png, or else as an SVG; Fault for a bad place."""
    parts = {"by performance": by_performance(rows), "by subject": _grouped(rows)}
    height = _HEAD + sum(_ROW * (len(part) + 3) for part in parts.values()) + 10
    if path.suffix.lower() == ".png":
        sheet = Raster(_WIDTH, height)
        _draw(sheet, rows, title, parts)
        sheet.save(path)
        return
    drawing = Drawing(_WIDTH, height, title)
    _draw(drawing, rows, title, parts)
    write_output_file(path, str(drawing).encode())


def _grouped(rows: Sequence[PerformanceEntry]) -> dict[str, Tally]:
    """Return the sums of subjects, or of so many neighbours together that the plot stays readable."""
    subjects = list(by_subject(rows))
    together = -(-len(subjects) // _MOST_SUBJECTS)
    if together <= 1:
        return by_subject(rows)
    groups = [subjects[at : at + together] for at in range(0, len(subjects), together)]
    names = {subject: f"{group[0]}-{group[-1][-3:]}" for group in groups for subject in group}
    found: dict[str, list[PerformanceEntry]] = {}
    for row in sorted(rows, key=lambda row: row.subject):
        found.setdefault(names[row.subject], []).append(row)
    return {name: tally(each) for name, each in found.items()}


def _draw(
    canvas: Canvas, rows: Sequence[PerformanceEntry], title: str, parts: Mapping[str, Mapping[str, Tally]]
) -> None:
    whole = tally(rows)
    canvas.text((_MARGIN, 34), title, 20, INK)
    count = len(by_subject(rows))
    told = f"{whole.performances} performances of {count} subjects, {size_text(whole.bytes)} published"
    canvas.text((_MARGIN, 58), told, 14, INK)
    x = float(_MARGIN)
    for square in PerformanceState:
        canvas.box((x, 70), (12, 12), PERFORMANCE_COLOURS[square.value])
        canvas.text((x + 17, 81), f"{square.value} {whole.squares[square]}", 12, INK)
        x += 130
    y = float(_HEAD)
    for name, part in parts.items():
        y = _table(canvas, name, part, y)


def _table(canvas: Canvas, name: str, part: Mapping[str, Tally], y: float) -> float:
    """Draw one table of bars; return where it ends."""
    y += _ROW * 1.6
    canvas.text((_MARGIN, y), name, 15, INK)
    heads = ((_STATES[0], "how they stand"), (_CAMERAS[0], "cameras"), (_FRAMES[0], "frames"), (_SIZE[0], "size"))
    for x, head in heads:
        canvas.text((x + 40 * (x == _STATES[0]), y), head, 12, MUTED)
    y += 8
    most = {
        "count": max((each.performances for each in part.values()), default=1),
        "frames": max((each.frames[2] for each in part.values()), default=1) or 1,
        "bytes": max((each.bytes for each in part.values()), default=1) or 1,
    }
    for label, each in part.items():
        _row(canvas, label, each, y, most)
        y += _ROW
    return y


def _row(canvas: Canvas, label: str, each: Tally, y: float, most: Mapping[str, int]) -> None:
    base = y + _ROW - 7
    canvas.text((_MARGIN, base), label, 12, INK)
    x = float(_STATES[0] + 40)
    for square in PerformanceState:
        wide = each.squares[square] / most["count"] * (_STATES[1] - 80)
        if wide:
            canvas.box((x, y + 4), (max(1.0, wide - 0.5), _ROW - 8), PERFORMANCE_COLOURS[square.value])
            x += wide
    canvas.text((x + 6, base), str(each.performances), 12, MUTED)
    if not each.frames[2]:
        return
    canvas.text((_CAMERAS[0], base), _span(each.cameras), 12, INK)
    scale = (_FRAMES[1] - 90) / most["frames"]
    least, middle, longest = each.frames
    canvas.box((_FRAMES[0], y + 10), (max(1.0, longest * scale), 2), FAINT)
    canvas.box((_FRAMES[0] + least * scale, y + 8), (max(2.0, (longest - least) * scale), 6), MUTED)
    canvas.box((_FRAMES[0] + middle * scale - 1, y + 4), (3, _ROW - 8), INK)
    canvas.text((_FRAMES[0] + longest * scale + 8, base), _span(each.frames), 12, INK)
    wide = each.bytes / most["bytes"] * _SIZE[1]
    canvas.box((_SIZE[0], y + 4), (max(1.0, wide), _ROW - 8), MUTED)
    canvas.text((_SIZE[0] + wide + 8, base), size_text(each.bytes), 12, INK)


def _span(values: tuple[int, float, int]) -> str:
    """Return `60`, or `38-60` where they differ."""
    return str(values[0]) if values[0] == values[2] else f"{values[0]}-{values[2]}"
