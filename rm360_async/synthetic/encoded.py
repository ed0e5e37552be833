"""Encoded images: distinct bytes for every frame, and ways in which they can be broken.

A label in a JPEG comment or a PNG text chunk makes each stored blob distinct without drawing or encoding again, and
tells a test which frame the bytes belong to.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

BlobBreak = Literal["no_end", "zeros_tail", "garbage", "empty", "padded", "bad_crc"]
BLOB_BREAKS: tuple[BlobBreak, ...] = ("no_end", "zeros_tail", "garbage", "empty", "padded", "bad_crc")
"""Ways to break a blob; "padded" is intact with zeros after its end, "bad_crc" is for PNG."""

JPEG_START, PNG_START = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_COMMENT = b"\xff\xfe"
_KEYWORD = b"Comment\0"


def encode(image: NDArray[np.uint8], suffix: str, quality: int = 90) -> bytes:
    """Return an image (height, width[, 3]), uint8 BGR or grey, as `.jpg` or `.png` bytes."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == ".jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 3]
    encoded: NDArray[Any] = cv2.imencode(suffix, image, options)[1]
    return encoded.tobytes()


def add_label(blob: bytes, label: str) -> bytes:
    """Return the JPEG or PNG with a text that does not change the image."""
    text = label.encode("ascii")
    if blob.startswith(PNG_START):
        return blob[:33] + _chunk(b"tEXt", _KEYWORD + text) + blob[33:]
    position = _after_first_segment(blob)
    return blob[:position] + _COMMENT + struct.pack(">H", len(text) + 2) + text + blob[position:]


def break_blob(blob: bytes, how: BlobBreak, seed: int = 0) -> bytes:
    """Return the blob broken in one of the ways of `BLOB_BREAKS`; raises ValueError for any other."""
    intact = len(blob) * 2 // 3
    if how == "no_end":
        return blob[:intact]
    if how == "zeros_tail":
        return blob[:intact] + bytes(len(blob) - intact)
    if how == "garbage":
        return np.random.default_rng(seed).bytes(len(blob))
    if how == "bad_crc":
        return _flip_byte(blob, blob.index(b"IDAT") + 12)
    if how not in ("empty", "padded"):
        raise ValueError(f"{how!r} is not one of {', '.join(BLOB_BREAKS)}")
    return b"" if how == "empty" else blob + bytes(512)


def _flip_byte(blob: bytes, position: int) -> bytes:
    return blob[:position] + bytes([blob[position] ^ 0xFF]) + blob[position + 1 :]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _after_first_segment(blob: bytes) -> int:
    """Return the position after the JFIF header, which must be the first segment."""
    return 4 + int.from_bytes(blob[4:6], "big") if blob[2:4] == b"\xff\xe0" else 2
