"""What can be drawn on: the same drawing becomes an SVG (`svg.Drawing`) or pixels (`sheet.Sheet`)."""

from __future__ import annotations

from typing import Literal, Protocol

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
