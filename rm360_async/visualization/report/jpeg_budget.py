"""Pictures as JPEG within a number of bytes, so that a page stays below its size whatever is on them."""

from __future__ import annotations

from collections.abc import Mapping

import cv2

from rm360_async.visualization.thumbnail import Image

_QUALITIES = (80, 70, 55, 40, 25, 10)


def encode_jpegs_within(pictures: Mapping[str, Image], most: int) -> dict[str, bytes]:
    """Return the pictures as JPEG, all at the best quality with which together they take at most so many bytes."""
    encoded: dict[str, bytes] = {}
    for quality in _QUALITIES:
        options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
        encoded = {key: cv2.imencode(".jpg", each, options)[1].tobytes() for key, each in pictures.items()}
        if sum(map(len, encoded.values())) <= most:
            break
    return encoded
