"""Drawings as SVG text: self-contained, without scripts and external fonts or files."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Literal, Protocol
from xml.sax.saxutils import escape, quoteattr

from rm360_async.visualization.theme import INK, PAPER

Point = tuple[float, float]
"""x and y in pixels from the upper left corner."""
Size = tuple[float, float]
"""Width and height in pixels."""
Anchor = Literal["start", "middle", "end"]
"""Which part of a text its position is."""
ANCHORS: tuple[Anchor, Anchor, Anchor] = ("start", "middle", "end")
ARROWHEAD_LENGTH = 12
LINE_SPACING = 1.5


class Canvas(Protocol):
    """What can be drawn both as SVG (`Drawing`) and in pixels (`Raster`); colours are #rrggbb."""

    def text(self, position: Point, text: str, size: float = 13, colour: str = ..., anchor: Anchor = "start") -> object:
        """Write text on its baseline."""

    def box(self, position: Point, size: Size, fill: str) -> object:
        """Draw a filled rectangle from its upper left corner."""


class Drawing:
    """An SVG of `width` x `height` user units (px); each shape covers those drawn before."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self.width, self.height = width, height
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
            f'height="{height:g}" font-family="Helvetica, Arial, DejaVu Sans, sans-serif" role="img">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{width:g}" height="{height:g}" fill="{PAPER}"/>',
        ]

    def text(
        self,
        position: Point,
        text: str,
        size: float = 13,
        colour: str = INK,
        anchor: Anchor = "start",
        weight: str = "",
    ) -> None:
        """Write text on its baseline; anchor is start, middle or end."""
        font_weight = f" font-weight={quoteattr(weight)}" if weight else ""
        self._parts.append(
            f'<text x="{position[0]:.1f}" y="{position[1]:.1f}" font-size="{size:g}" fill="{colour}" '
            f'text-anchor="{anchor}"{font_weight}>{escape(text)}</text>'
        )

    def line(self, start: Point, end: Point, colour: str, width: float = 1, dashes: str = "") -> None:
        """Draw a straight line; `dashes` as in stroke-dasharray."""
        dash_array = f' stroke-dasharray="{dashes}"' if dashes else ""
        self._parts.append(
            f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}" '
            f'stroke="{colour}" stroke-width="{width:g}"{dash_array}/>'
        )

    def box(self, position: Point, size: Size, fill: str, stroke: str = "none") -> None:
        """Draw a rectangle from its upper left corner."""
        self._parts.append(
            f'<rect x="{position[0]:.1f}" y="{position[1]:.1f}" width="{size[0]:.1f}" height="{size[1]:.1f}" '
            f'fill="{fill}" stroke="{stroke}"/>'
        )

    def circle(self, centre: Point, radius: float, fill: str, stroke: str = "none", width: float = 1.5) -> None:
        """Draw a circle."""
        self._parts.append(
            f'<circle cx="{centre[0]:.1f}" cy="{centre[1]:.1f}" r="{radius:g}" fill="{fill}" stroke="{stroke}" '
            f'stroke-width="{width:g}"/>'
        )

    def polygon(
        self, corners: Sequence[Point], fill: str, stroke: str = "none", opacity: float = 1, width: float = 1
    ) -> None:
        """Draw a closed polygon."""
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        self._parts.append(
            f'<polygon points="{points}" fill="{fill}" fill-opacity="{opacity:g}" stroke="{stroke}" '
            f'stroke-width="{width:g}" stroke-linejoin="round"/>'
        )

    def path(self, commands: str, fill: str = "none", stroke: str = "none", width: float = 1) -> None:
        """Draw a path; `commands` are those of its `d` attribute: letters and numbers, never text from data."""
        if commands:
            self._parts.append(f'<path d="{commands}" fill="{fill}" stroke="{stroke}" stroke-width="{width:g}"/>')

    def picture(self, jpeg: bytes, size: Size) -> None:
        """Draw a JPEG stretched to `size` from the upper left corner of the drawing; its bytes are embedded."""
        data = base64.b64encode(jpeg).decode("ascii")
        self._parts.append(
            f'<image width="{size[0]:g}" height="{size[1]:g}" preserveAspectRatio="none" '
            f'href="data:image/jpeg;base64,{data}"/>'
        )

    def arrow(self, start: Point, end: Point, colour: str, width: float = 3) -> None:
        """Draw an arrow that points at `end`."""
        direction = (end[0] - start[0], end[1] - start[1])
        length = (direction[0] ** 2 + direction[1] ** 2) ** 0.5 or 1.0
        x, y = direction[0] / length * ARROWHEAD_LENGTH, direction[1] / length * ARROWHEAD_LENGTH
        self.line(start, (end[0] - x, end[1] - y), colour, width)
        self.polygon([end, (end[0] - x - y / 2, end[1] - y + x / 2), (end[0] - x + y / 2, end[1] - y - x / 2)], colour)

    def lines_of_text(self, position: Point, lines: Iterable[tuple[str, str]], size: float = 13) -> None:
        """Write lines of (text, colour) one below the other."""
        for row, (text, colour) in enumerate(lines):
            self.text((position[0], position[1] + row * size * LINE_SPACING), text, size, colour)

    def __str__(self) -> str:
        return "\n".join([*self._parts, "</svg>", ""])
