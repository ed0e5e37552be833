"""Decoding of pictures and masks, in full or reduced by the decoder itself, and their size from the header."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rm360_async.dataset.camera import require_reduction
from rm360_async.dataset.errors import DamagedData
from rm360_async.domain.picture_header import JPEG_START, picture_size

Pixels = NDArray[np.uint8]
_HEADER_BYTES = (2_048, 65_536)
"""Nearly all headers end within the first; one with a preview picture does not."""


def read_size(path: Path) -> tuple[int, int] | None:
    """Return (width, height) px from a picture's header; None if it cannot be read."""
    try:
        with path.open("rb", buffering=0) as file:
            header = file.read(_HEADER_BYTES[0])
            return picture_size(header) or picture_size(header + file.read(_HEADER_BYTES[1]))
    except OSError:
        return None


def decode_colour(data: bytes, path: Path, reduce: int = 1) -> Pixels:
    """Return pixels (height, width, 3) RGB; `path` is for the message. Raises DamagedData.

    With `reduce` 2, 4 or 8 the JPEG decoder itself makes the picture smaller, which takes a fraction of the time.
    """
    pixels = _decode(data, path, reduce, is_colour=True)
    rgb = np.empty_like(pixels)
    for channel in range(3):  # as quick as a copy; cv2.cvtColor has threads of its own, which a fork breaks
        rgb[..., channel] = pixels[..., 2 - channel]
    return rgb


def decode_grey(data: bytes, path: Path, reduce: int = 1) -> Pixels:
    """Return grey pixels (height, width); see `decode_colour`."""
    return _decode(data, path, reduce, is_colour=False)


def _decode(data: bytes, path: Path, reduce: int, *, is_colour: bool) -> Pixels:
    import cv2  # it takes longer to import than all the rest

    require_reduction(reduce)
    is_reduced_by_decoder = data.startswith(JPEG_START)
    flags = _decoder_flags(reduce if is_reduced_by_decoder else 1, is_colour)
    try:
        pixels: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise DamagedData(f"{path} cannot be decoded; `rm360 verify --deep` checks whether it is as it was published")
    decoded = np.asarray(pixels, np.uint8)
    return decoded if is_reduced_by_decoder else _average(decoded, reduce)


@cache
def _decoder_flags(reduce: int, is_colour: bool) -> int:
    import cv2

    kind = "COLOR" if is_colour else "GRAYSCALE"
    return int(getattr(cv2, f"IMREAD_{kind}" if reduce == 1 else f"IMREAD_REDUCED_{kind}_{reduce}")) | int(
        cv2.IMREAD_IGNORE_ORIENTATION
    )


def _average(pixels: Pixels, factor: int) -> Pixels:
    """Return the means of squares of `factor` px; the last row and column are repeated where a square is not full."""
    if factor == 1:
        return pixels
    height, width = pixels.shape[:2]
    borders = [(0, -height % factor), (0, -width % factor), (0, 0)][: pixels.ndim]
    padded = np.pad(pixels, borders, mode="edge")
    of_rows = padded[::factor].astype(np.uint16)  # at most 64 x 255; adding rows takes a fifth of the time of `sum`
    for row in range(1, factor):
        of_rows += padded[row::factor]
    of_squares = of_rows[:, ::factor].copy()
    for column in range(1, factor):
        of_squares += of_rows[:, column::factor]
    return np.asarray((of_squares + factor * factor // 2) // (factor * factor), np.uint8)
