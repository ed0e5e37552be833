"""Width and height from the first bytes of a JPEG or PNG, without decoding."""

from __future__ import annotations

import struct

JPEG_START = b"\xff\xd8"
PNG_START = b"\x89PNG\r\n\x1a\n"
MAX_SIDE_PX = 65_500
_FRAME_HEADER_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) px from the first SOF segment; None if the data end before it.

    Raises ValueError with a phrase such as "has a JPEG header without a frame size".
    """
    offset = len(JPEG_START)
    while offset + 9 <= len(data):
        if data[offset] != 0xFF:
            raise ValueError(f"has a JPEG header that breaks off at byte {offset}")
        marker = data[offset + 1]
        if marker == 0xFF:  # fill byte
            offset += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD7:  # markers without a segment
            offset += 2
        elif marker in _FRAME_HEADER_MARKERS:
            height, width = struct.unpack_from(">HH", data, offset + 5)
            return width, height
        elif marker in (0xD9, 0xDA, 0x00):
            raise ValueError("has a JPEG header without a frame size")
        else:
            offset += 2 + max(2, struct.unpack_from(">H", data, offset + 2)[0])
    return None


def png_size(data: bytes) -> tuple[int, int]:
    """Return (width, height) px from the first chunk of a PNG; ValueError if the data do not begin with it."""
    if len(data) < 24 or data[8:16] != b"\0\0\0\x0dIHDR":
        raise ValueError("begins without a PNG header chunk")
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def picture_size(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) px of a JPEG or PNG; None for other data and for a header that is damaged or cut off."""
    try:
        size = jpeg_size(data) if data.startswith(JPEG_START) else png_size(data)
    except ValueError:
        return None
    return size if size is not None and all(0 < side <= MAX_SIDE_PX for side in size) else None
