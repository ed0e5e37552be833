"""Small pictures from large files: the decoder itself reduces them to an eighth, a quarter or a half of the size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rm360_async.smc import Blob, UnreadableData, check_picture

Image = NDArray[np.uint8]
"""Pixels (height, width, 3) BGR."""

DECODER_THREADS = 4
_DECODER_MODES = (
    (8, cv2.IMREAD_REDUCED_COLOR_8),
    (4, cv2.IMREAD_REDUCED_COLOR_4),
    (2, cv2.IMREAD_REDUCED_COLOR_2),
    (1, cv2.IMREAD_COLOR),
)
"""Reduction factor and flag of OpenCV's decoder."""


def decode_reduced(path: Path, width: int) -> Image | None:
    """Return the picture as small as the decoder makes it, but at least `width` pixels wide.

    None if the file cannot be decoded; a picture that is narrower keeps its size.
    """
    try:
        data = path.read_bytes()
        header = check_picture(Blob(-1, 0, len(data), data))
        full_width = header.width or width
        mode = next(mode for factor, mode in _DECODER_MODES if full_width // factor >= width or factor == 1)
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), mode | cv2.IMREAD_IGNORE_ORIENTATION)
    except (OSError, UnreadableData, cv2.error):
        return None
    return None if decoded is None else np.asarray(decoded, np.uint8)


def decode_thumbnail(path: Path, width: int) -> Image | None:
    """Return the picture, `width` pixels wide; None if the file cannot be decoded."""
    decoded = decode_reduced(path, width)
    return None if decoded is None else resize_to_width(decoded, width)


def resize_to_width(picture: Image, width: int) -> Image:
    """Return the picture, `width` pixels wide."""
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def decode_thumbnails(paths: Iterable[Path], width: int) -> Iterator[Image | None]:
    """Yield the thumbnail of each file, in order; a few threads decode them."""
    with ThreadPoolExecutor(DECODER_THREADS, thread_name_prefix="thumbnail") as pool:
        yield from pool.map(lambda path: decode_thumbnail(path, width), paths)
