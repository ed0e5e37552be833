"""Is a stored picture whole? A cheap check without decoding.

JPEG: begins with FF D8, its header parses to a frame header (SOF) with a sane width and height, ends with
FF D9. PNG: signature, every chunk with a right CRC, IHDR first, IEND last. Zero bytes after the end of either
are accepted: some writers pad to a block, every decoder tolerates it, and the file stays as stored. Other
known picture formats cannot be checked here, so they are kept under `.bin`; bytes that begin as no picture
format does are broken.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from rm360_async.smc.blobs import Blob
from rm360_async.smc.errors import UnreadableData
from rm360_async.smc.file import SmcFile

_JPEG = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"
_PNG = b"\x89PNG\r\n\x1a\n"
_OTHERS = (
    b"RIFF",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"GIF8",
    b"\0\0\0\x0cJXL ",
    b"\xff\x0a",
    b"\0\0\0\x0cjP  ",
    b"\xff\x4f\xff\x51",
)
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_HEAD = 4096
_LARGEST_SIDE = 65_500


@dataclass(frozen=True)
class Picture:
    """What the first bytes say: the file suffix, and width and height in px (0 where not known)."""

    suffix: str
    width: int = 0
    height: int = 0


def check(blob: Blob) -> Picture:
    """Return what the picture is; UnreadableData with the reason when it is not whole."""
    head = blob.read(0, _HEAD)
    if not any(head) and not any(blob.read()):
        raise UnreadableData(f"holds zeros only ({blob.size} bytes)")
    if head.startswith(_JPEG):
        return _check_jpeg(blob, head)
    if head.startswith(_PNG):
        return _check_png(blob.read())
    if head.startswith(_OTHERS) or head[4:8] == b"ftyp":
        return Picture(".bin")
    raise UnreadableData(f"begins as no picture does ({head[:4].hex(' ')})")


def _check_jpeg(blob: Blob, head: bytes) -> Picture:
    found = _frame_header(head) or (_frame_header(blob.read()) if blob.size > len(head) else None)
    if found is None:
        raise UnreadableData("ends before its JPEG header does")
    width, height = found
    if not (0 < width <= _LARGEST_SIDE and 0 < height <= _LARGEST_SIDE):
        raise UnreadableData(f"has a JPEG header with an impossible size ({width} x {height})")
    tail = blob.read(max(0, blob.size - _HEAD)).rstrip(b"\0") or blob.read().rstrip(b"\0")
    if not tail.endswith(_JPEG_END):
        raise UnreadableData("ends without its JPEG end marker")
    return Picture(".jpg", width, height)


def _frame_header(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) of the first SOF segment; None when the data end before it."""
    at = len(_JPEG)
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            raise UnreadableData(f"has a JPEG header that breaks off at byte {at}")
        kind = data[at + 1]
        if kind == 0xFF:  # fill byte
            at += 1
        elif kind == 0x01 or 0xD0 <= kind <= 0xD7:  # markers without a segment
            at += 2
        elif kind in _SOF:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        elif kind in (0xD9, 0xDA, 0x00):
            raise UnreadableData("has a JPEG header without a frame size")
        else:
            at += 2 + max(2, struct.unpack_from(">H", data, at + 2)[0])
    return None


def _check_png(data: bytes) -> Picture:
    at, width, height, kind = len(_PNG), 0, 0, b""
    while kind != b"IEND":
        if at + 12 > len(data):
            raise UnreadableData("ends without its PNG end chunk")
        size, kind = struct.unpack_from(">I4s", data, at)
        body_end = at + 8 + size
        if body_end + 4 > len(data):
            raise UnreadableData("ends inside a PNG chunk")
        if zlib.crc32(data[at + 4 : body_end]) != struct.unpack_from(">I", data, body_end)[0]:
            raise UnreadableData(f"has a PNG chunk with a wrong checksum at byte {at}")
        if at == len(_PNG):
            width, height = _png_size(kind, size, data)
        at = body_end + 4
    if any(data[at:]):
        raise UnreadableData(f"has {len(data) - at} bytes after its PNG end chunk")
    return Picture(".png", width, height)


def _png_size(kind: bytes, size: int, data: bytes) -> tuple[int, int]:
    if kind != b"IHDR" or size != 13:
        raise UnreadableData("begins without a PNG header chunk")
    width, height = struct.unpack_from(">II", data, len(_PNG) + 8)
    if not (0 < width <= _LARGEST_SIDE and 0 < height <= _LARGEST_SIDE):
        raise UnreadableData(f"has a PNG header with an impossible size ({width} x {height})")
    return width, height


_TRIES = 5


def image_size(file: SmcFile, part: str = "color") -> tuple[int, int] | None:
    """Return height and width in pixels of the first whole picture (color or mask); None when there is none."""
    for camera in file.cameras_having(part)[:_TRIES]:
        try:
            for frame in file.frames("Camera", camera, part).frames[:_TRIES]:
                if size := _size(file, camera, part, frame):
                    return size
        except UnreadableData:  # another camera may be readable
            continue
    return None


def _size(file: SmcFile, camera: str, part: str, frame: int) -> tuple[int, int] | None:
    try:
        blob = file.blob("Camera", camera, part, file.frames("Camera", camera, part).name(frame))
        picture = check(blob) if blob is not None else None
    except UnreadableData:
        return None
    return (picture.height, picture.width) if picture is not None and picture.width else None
