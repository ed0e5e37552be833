"""A sheet of paper in pixels: text, boxes and picture cells, and the file that it becomes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from rm360_async.domain.errors import Cause
from rm360_async.system.os_errors import os_errors
from rm360_async.visualization.svg import Anchor
from rm360_async.visualization.theme import BAD, EMPTY, FAINT, INK, MUTED, PAPER, bgr
from rm360_async.visualization.thumbnail import Image

CELL = (132, 110)
"""Width and height in pixels of a picture in a sheet."""
LABEL = 24
"""Height of the line below a picture."""
LOSS_REASONS = ("lost", "broken", "missing")
"""Reasons for having no picture that are no choice of anybody."""
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_SCALE = 1 / 27
"""Font scale per pixel of letter height."""


class Raster:
    """A picture in the making; places are pixels from the upper left corner, text stands on its baseline."""

    def __init__(self, width: int, height: int) -> None:
        self.pixels: Image = np.full((height, width, 3), bgr(PAPER), np.uint8)

    def text(
        self, place: tuple[float, float], text: str, size: float = 13, colour: str = INK, anchor: Anchor = "start"
    ) -> float:
        """Write ASCII text of a height in pixels; return where it ends (x)."""
        scale = size * _SCALE
        width = cv2.getTextSize(text, _FONT, scale, 1)[0][0]
        x = place[0] - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
        where = (round(x), round(place[1]))
        cv2.putText(self.pixels, text, where, _FONT, scale, bgr(colour), 1, cv2.LINE_AA)
        return x + width

    def box(
        self, place: tuple[float, float], size: tuple[float, float], fill: str | None = None, line: str | None = None
    ) -> None:
        """Draw a rectangle."""
        first = (round(place[0]), round(place[1]))
        last = (round(place[0] + size[0]) - 1, round(place[1] + size[1]) - 1)
        if fill is not None:
            cv2.rectangle(self.pixels, first, last, bgr(fill), cv2.FILLED)
        if line is not None:
            cv2.rectangle(self.pixels, first, last, bgr(line), 1)

    def cell(self, place: tuple[int, int], label: str, content: Image | str) -> None:
        """Draw a picture with its label, or a grey cell with the reason for having none."""
        x, y = place
        if isinstance(content, str):
            lost = content in LOSS_REASONS
            self.box(place, CELL, EMPTY, BAD if lost else FAINT)
            self.text((x + CELL[0] / 2, y + CELL[1] / 2 + 5), content, 15, BAD if lost else MUTED, "middle")
            self.text((x + 2, y + CELL[1] + 18), label, 16, MUTED)
            return
        self.box(place, CELL, EMPTY)
        height, width = (min(side, most) for side, most in zip(content.shape, CELL[::-1], strict=False))
        top, left = y + (CELL[1] - height) // 2, x + (CELL[0] - width) // 2
        self.pixels[top : top + height, left : left + width] = content[:height, :width]
        self.text((x + 2, y + CELL[1] + 18), label, 16, INK)

    def save(self, path: Path) -> None:
        """Write the sheet as a PNG; Fault when it cannot be written."""
        encoded = cv2.imencode(".png", self.pixels)[1].tobytes()
        write_output_file(path, encoded)


def write_output_file(path: Path, data: bytes) -> None:
    """Write a picture's file, and the folder that it goes to; Fault(NOT_WRITABLE) when that fails."""
    with os_errors("write", path, "choose another file", Cause.NOT_WRITABLE):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
