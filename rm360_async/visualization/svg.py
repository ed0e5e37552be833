"""A drawing as SVG text: self-contained, no script, no fonts or files from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Literal, Protocol
from xml.sax.saxutils import escape, quoteattr

from rm360_async.visualization.theme import INK, PAPER


class Drawing:
    """A drawing of `width` x `height` user units (px); shapes lie over those drawn before."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self.width, self.height = width, height
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
            f'height="{height:g}" font-family="Helvetica, Arial, DejaVu Sans, sans-serif" role="img">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{width:g}" height="{height:g}" fill="{PAPER}"/>',
        ]

    def text(
        self, place: Point, text: str, size: float = 13, colour: str = INK, anchor: Anchor = "start", weight: str = ""
    ) -> None:
        """Write text on its baseline; anchor is start, middle or end."""
        bold = f" font-weight={quoteattr(weight)}" if weight else ""
        self._parts.append(
            f'<text x="{place[0]:.1f}" y="{place[1]:.1f}" font-size="{size:g}" fill="{colour}" '
            f'text-anchor="{anchor}"{bold}>{escape(text)}</text>'
        )

    def line(self, start: Point, end: Point, colour: str, width: float = 1, dashes: str = "") -> None:
        """Draw a straight line; `dashes` as in stroke-dasharray."""
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        self._parts.append(
            f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}" '
            f'stroke="{colour}" stroke-width="{width:g}"{dashed}/>'
        )

    def box(self, place: Point, size: Point, fill: str, line: str = "none") -> None:
        """Draw a rectangle from its upper left corner."""
        self._parts.append(
            f'<rect x="{place[0]:.1f}" y="{place[1]:.1f}" width="{size[0]:.1f}" height="{size[1]:.1f}" '
            f'fill="{fill}" stroke="{line}"/>'
        )

    def circle(self, centre: Point, radius: float, fill: str, line: str = "none", width: float = 1.5) -> None:
        """Draw a circle."""
        self._parts.append(
            f'<circle cx="{centre[0]:.1f}" cy="{centre[1]:.1f}" r="{radius:g}" fill="{fill}" stroke="{line}" '
            f'stroke-width="{width:g}"/>'
        )

    def polygon(
        self, rim: Sequence[Point], fill: str, line: str = "none", opacity: float = 1, width: float = 1
    ) -> None:
        """Draw a closed polygon."""
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in rim)
        self._parts.append(
            f'<polygon points="{points}" fill="{fill}" fill-opacity="{opacity:g}" stroke="{line}" '
            f'stroke-width="{width:g}" stroke-linejoin="round"/>'
        )

    def path(self, steps: str, fill: str = "none", line: str = "none", width: float = 1) -> None:
        """Draw what the steps of a path's `d` say; they are numbers and letters, never text from data."""
        if steps:
            self._parts.append(f'<path d="{steps}" fill="{fill}" stroke="{line}" stroke-width="{width:g}"/>')

    def picture(self, jpeg: bytes, size: Point) -> None:
        """Lay a JPEG over the whole of `size`, from the upper left corner; its bytes go into the text."""
        data = base64.b64encode(jpeg).decode("ascii")
        self._parts.append(
            f'<image width="{size[0]:g}" height="{size[1]:g}" preserveAspectRatio="none" '
            f'href="data:image/jpeg;base64,{data}"/>'
        )

    def arrow(self, start: Point, end: Point, colour: str, width: float = 3) -> None:
        """Draw an arrow to `end`."""
        along = (end[0] - start[0], end[1] - start[1])
        length = (along[0] ** 2 + along[1] ** 2) ** 0.5 or 1.0
        x, y = along[0] / length * 12, along[1] / length * 12
        self.line(start, (end[0] - x, end[1] - y), colour, width)
        self.polygon([end, (end[0] - x - y / 2, end[1] - y + x / 2), (end[0] - x + y / 2, end[1] - y - x / 2)], colour)

    def lines_of_text(self, place: Point, lines: Iterable[tuple[str, str]], size: float = 13) -> None:
        """Write (text, colour) one below the other."""
        for row, (text, colour) in enumerate(lines):
            self.text((place[0], place[1] + row * size * 1.5), text, size, colour)

    def __str__(self) -> str:
        return "\n".join([*self._parts, "</svg>", ""])


Point = tuple[float, float]
Anchor = Literal["start", "middle", "end"]
"""Which part of a text its place is."""
ANCHORS: tuple[Anchor, Anchor, Anchor] = ("start", "middle", "end")


class Canvas(Protocol):
    """Places are in pixels from the upper left corner; colours are #rrggbb."""

    def text(self, place: Point, text: str, size: float = 13, colour: str = ..., anchor: Anchor = "start") -> object:
        """Write text on its baseline."""

    def box(self, place: Point, size: Point, fill: str) -> object:
        """Draw a filled rectangle from its upper left corner."""
