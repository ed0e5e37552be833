"""Drawings in pixels: text, boxes and labelled pictures; and writing the file of a drawing or a page."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from rm360_async.domain.errors import BadRequest, Cause
from rm360_async.system.files import write_atomically
from rm360_async.system.os_errors import os_errors
from rm360_async.visualization.svg import Anchor, Point, Size
from rm360_async.visualization.theme import BAD, EMPTY, FAINT, INK, MARK, MUTED, PAPER, bgr
from rm360_async.visualization.thumbnail import Image

CELL_SIZE = (132, 110)
"""Width and height in pixels of a picture in a contact sheet or strip."""
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
MARK_WIDTH = 3
"""Width in pixels of the frame around a cell that is marked."""
LABEL_HEIGHT = 24
"""Height in pixels of the line below a picture."""
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_SCALE = 1 / 27
"""Font scale per pixel of letter height."""


class Raster:
    """An image that is drawn on: `pixels` (height, width, 3) BGR; a later shape covers earlier ones."""

    def __init__(self, width: int, height: int) -> None:
        self.pixels: Image = np.full((height, width, 3), bgr(PAPER), np.uint8)

    def text(self, position: Point, text: str, size: float = 13, colour: str = INK, anchor: Anchor = "start") -> float:
        """Write ASCII text of `size` pixels in height on its baseline; return the x at which it ends."""
        scale = size * _FONT_SCALE
        width = cv2.getTextSize(text, _FONT, scale, 1)[0][0]
        x = position[0] - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
        origin = (round(x), round(position[1]))
        cv2.putText(self.pixels, text, origin, _FONT, scale, bgr(colour), 1, cv2.LINE_AA)
        return x + width

    def box(self, position: Point, size: Size, fill: str | None = None, stroke: str | None = None) -> None:
        """Draw a rectangle from its upper left corner."""
        first = (round(position[0]), round(position[1]))
        last = (round(position[0] + size[0]) - 1, round(position[1] + size[1]) - 1)
        if fill is not None:
            cv2.rectangle(self.pixels, first, last, bgr(fill), cv2.FILLED)
        if stroke is not None:
            cv2.rectangle(self.pixels, first, last, bgr(stroke), 1)

    def picture_cell(self, position: tuple[int, int], label: str, picture: Image) -> None:
        """Draw a picture into the middle of a cell, cropped to it, and its label below."""
        self.box(position, CELL_SIZE, EMPTY)
        width, height = min(CELL_SIZE[0], picture.shape[1]), min(CELL_SIZE[1], picture.shape[0])
        left, top = position[0] + (CELL_SIZE[0] - width) // 2, position[1] + (CELL_SIZE[1] - height) // 2
        self.pixels[top : top + height, left : left + width] = picture[:height, :width]
        self._cell_label(position, label, INK)

    def empty_cell(self, position: tuple[int, int], label: str, reason: str, *, is_loss: bool) -> None:
        """Draw a grey cell with the reason why there is no picture; red if it is a loss."""
        x, y = position
        self.box(position, CELL_SIZE, EMPTY, BAD if is_loss else FAINT)
        centre = (x + CELL_SIZE[0] / 2, y + CELL_SIZE[1] / 2 + 5)
        self.text(centre, reason, 15, BAD if is_loss else MUTED, "middle")
        self._cell_label(position, label, MUTED)

    def _cell_label(self, position: tuple[int, int], label: str, colour: str) -> None:
        self.text((position[0] + 2, position[1] + CELL_SIZE[1] + 18), label, 16, colour)

    def mark_cell(self, position: tuple[int, int]) -> None:
        """Draw a thick frame around a cell."""
        for width in range(1, MARK_WIDTH + 1):
            corner = (position[0] - width, position[1] - width)
            self.box(corner, (CELL_SIZE[0] + 2 * width, CELL_SIZE[1] + 2 * width), stroke=MARK)

    def save(self, path: Path) -> None:
        """Write the image in the format of the path's suffix; a device or pipe without one gets a PNG.

        Raises BadRequest for a suffix of another format, Fault if the file cannot be written.
        """
        write_output_file(path, cv2.imencode(image_suffix(path), self.pixels)[1].tobytes())


def image_suffix(path: Path) -> str:
    """Return the suffix that names the format of an image file; raise BadRequest if there is no such format."""
    suffix = path.suffix.lower()
    if suffix in IMAGE_SUFFIXES:
        return suffix
    if not suffix and path.exists() and not path.is_file():
        return ".png"
    raise BadRequest(f"{path}: the name of an image ends in {', '.join(IMAGE_SUFFIXES)}")


def write_output_file(path: Path, data: bytes) -> None:
    """Write a file in one step, creating its folder; raise Fault if that fails.

    A symbolic link is followed: a person chose it. A pipe or a terminal is written to as it is.
    """
    with os_errors("write", path, "choose another path", Cause.NOT_WRITABLE):
        target = path.resolve()
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not target.is_file():
            target.write_bytes(data)
        else:
            write_atomically(target, data)
