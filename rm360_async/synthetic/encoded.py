"""Encoded pictures: distinct bytes for every frame, and ways in which they can be broken.

A label in a JPEG comment or a PNG text chunk makes each stored blob distinct without drawing or encoding
again, and lets a test see whose bytes it has in hand.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Break = Literal["no_end", "zeros_tail", "garbage", "empty", "padded", "bad_crc"]
BREAKS: tuple[Break, ...] = ("no_end", "zeros_tail", "garbage", "empty", "padded", "bad_crc")
"""Ways to break a blob; "padded" is whole with zeros after its end, "bad_crc" is for PNG."""

JPEG_START, JPEG_END, PNG_START = b"\xff\xd8", b"\xff\xd9", b"\x89PNG\r\n\x1a\n"
_COMMENT = b"\xff\xfe"
_KEYWORD = b"Comment\0"


def encode(picture: NDArray[np.uint8], suffix: str, quality: int = 90) -> bytes:
    """Return the picture (height, width[, 3]) as `.jpg` or `.png` bytes."""
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == ".jpg" else [cv2.IMWRITE_PNG_COMPRESSION, 3]
    encoded: NDArray[Any] = cv2.imencode(suffix, picture, options)[1]
    return encoded.tobytes()


def labelled(blob: bytes, label: str) -> bytes:
    """Return the JPEG or PNG with a text that does not change the picture."""
    text = label.encode("ascii")
    if blob.startswith(PNG_START):
        return blob[:33] + _chunk(b"tEXt", _KEYWORD + text) + blob[33:]
    place = _after_first_segment(blob)
    return blob[:place] + _COMMENT + struct.pack(">H", len(text) + 2) + text + blob[place:]


def label_of(blob: bytes) -> str | None:
    """Return the label that `labelled` put in, or None."""
    if blob.startswith(PNG_START):
        found = blob[41 : 41 + len(_KEYWORD)] == _KEYWORD
        return blob[41 + len(_KEYWORD) : 41 + int.from_bytes(blob[33:37], "big")].decode() if found else None
    place = _after_first_segment(blob) if blob.startswith(JPEG_START) else 0
    if blob[place : place + 2] != _COMMENT:
        return None
    return blob[place + 4 : place + 2 + int.from_bytes(blob[place + 2 : place + 4], "big")].decode()


def broken(blob: bytes, how: Break, seed: int = 0) -> bytes:
    """Return the blob broken in one of the ways of `BREAKS`; ValueError for another."""
    kept = len(blob) * 2 // 3
    if how == "no_end":
        return blob[:kept]
    if how == "zeros_tail":
        return blob[:kept] + bytes(len(blob) - kept)
    if how == "garbage":
        return np.random.default_rng(seed).bytes(len(blob))
    if how == "bad_crc":
        return _flip(blob, blob.index(b"IDAT") + 12)
    if how not in ("empty", "padded"):
        raise ValueError(f"{how!r} is not one of {', '.join(BREAKS)}")
    return b"" if how == "empty" else blob + bytes(512)


def _flip(blob: bytes, place: int) -> bytes:
    return blob[:place] + bytes([blob[place] ^ 0xFF]) + blob[place + 1 :]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _after_first_segment(blob: bytes) -> int:
    """Return where the JFIF header, which must come first, ends."""
    return 4 + int.from_bytes(blob[4:6], "big") if blob[2:4] == b"\xff\xe0" else 2
