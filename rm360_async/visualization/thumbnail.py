"""Small pictures from large files: the decoder itself makes them an eighth, a quarter or a half of the size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rm360_async.smc import Blob, UnreadableData, check

Image = NDArray[np.uint8]

_THREADS = 4
_REDUCED = (
    (8, cv2.IMREAD_REDUCED_COLOR_8),
    (4, cv2.IMREAD_REDUCED_COLOR_4),
    (2, cv2.IMREAD_REDUCED_COLOR_2),
    (1, cv2.IMREAD_COLOR),
)


def decode_reduced(path: Path, width: int) -> Image | None:
    """Return the picture (height, width, 3) BGR, as small as the decoder makes it and at least of this width.

    None when the file cannot be decoded; a picture that is not as wide comes as it is.
    """
    try:
        data = path.read_bytes()
        found = check(Blob(-1, 0, len(data), data))
        full = found.width or width
        mode = next(mode for factor, mode in _REDUCED if full // factor >= width or factor == 1)
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), mode | cv2.IMREAD_IGNORE_ORIENTATION)
    except (OSError, UnreadableData, cv2.error):
        return None
    return None if decoded is None else np.asarray(decoded, np.uint8)


def decode_thumbnail(path: Path, width: int) -> Image | None:
    """Return the picture (height, width, 3) BGR at this width; None when the file cannot be decoded."""
    decoded = decode_reduced(path, width)
    return None if decoded is None else resize_to_width(decoded, width)


def resize_to_width(picture: Image, width: int) -> Image:
    """Return the picture at this width."""
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def decode_thumbnails(paths: Iterable[Path], width: int) -> Iterator[Image | None]:
    """Yield the thumbnail of each file, in order; decoded by a few threads."""
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="thumbnail") as pool:
        yield from pool.map(lambda path: decode_thumbnail(path, width), paths)
