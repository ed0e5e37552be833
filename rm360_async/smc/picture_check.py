"""Check cheaply, without decoding, that a stored picture is intact.

JPEG: begins with FF D8, its header parses to a frame header (SOF) with a plausible width and height, ends with FF D9.
PNG: signature, every chunk with a correct CRC, IHDR first, IEND last. Zero bytes after the end of either are accepted:
some writers pad to a block, every decoder tolerates it, and the file stays as stored. Other known picture formats
cannot be checked here, so they are kept with the suffix `.bin`; bytes that do not begin like any picture are broken.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from rm360_async.domain.picture_header import JPEG_START, MAX_SIDE_PX, PNG_START, jpeg_size
from rm360_async.smc.blobs import Blob
from rm360_async.smc.errors import UnreadableData
from rm360_async.smc.file import SmcFile

_JPEG_END = b"\xff\xd9"
_OTHER_FORMATS = (
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
_HEADER_BYTES = 4096


@dataclass(frozen=True)
class Picture:
    """What the header says: the file suffix, and width and height in px (0 if unknown)."""

    suffix: str
    width: int = 0
    height: int = 0


def check_picture(blob: Blob) -> Picture:
    """Return the picture's format and size; UnreadableData with the reason if it is not intact."""
    head = blob.read(0, _HEADER_BYTES)
    if not any(head) and not any(blob.read()):
        raise UnreadableData(f"holds zeros only ({blob.size} bytes)")
    if head.startswith(JPEG_START):
        return _check_jpeg(blob, head)
    if head.startswith(PNG_START):
        return _check_png(blob.read())
    if head.startswith(_OTHER_FORMATS) or head[4:8] == b"ftyp":
        return Picture(".bin")
    raise UnreadableData(f"does not begin like any picture ({head[:4].hex(' ')})")


def _check_jpeg(blob: Blob, head: bytes) -> Picture:
    size = _frame_header(head) or (_frame_header(blob.read()) if blob.size > len(head) else None)
    if size is None:
        raise UnreadableData("ends before its JPEG header does")
    width, height = size
    if not (0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX):
        raise UnreadableData(f"has a JPEG header with an impossible size ({width} x {height})")
    tail = blob.read(max(0, blob.size - _HEADER_BYTES)).rstrip(b"\0") or blob.read().rstrip(b"\0")
    if not tail.endswith(_JPEG_END):
        raise UnreadableData("ends without its JPEG end marker")
    return Picture(".jpg", width, height)


def _frame_header(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) from the first SOF segment; None if the data end before it."""
    try:
        return jpeg_size(data)
    except ValueError as error:
        raise UnreadableData(str(error)) from error


def _check_png(data: bytes) -> Picture:
    offset, width, height, kind = len(PNG_START), 0, 0, b""
    while kind != b"IEND":
        if offset + 12 > len(data):
            raise UnreadableData("ends without its PNG end chunk")
        size, kind = struct.unpack_from(">I4s", data, offset)
        body_end = offset + 8 + size
        if body_end + 4 > len(data):
            raise UnreadableData("ends inside a PNG chunk")
        if zlib.crc32(data[offset + 4 : body_end]) != struct.unpack_from(">I", data, body_end)[0]:
            raise UnreadableData(f"has a PNG chunk with a wrong checksum at byte {offset}")
        if offset == len(PNG_START):
            width, height = _png_size(kind, size, data)
        offset = body_end + 4
    if any(data[offset:]):
        raise UnreadableData(f"has {len(data) - offset} bytes after its PNG end chunk")
    return Picture(".png", width, height)


def _png_size(kind: bytes, size: int, data: bytes) -> tuple[int, int]:
    if kind != b"IHDR" or size != 13:
        raise UnreadableData("begins without a PNG header chunk")
    width, height = struct.unpack_from(">II", data, len(PNG_START) + 8)
    if not (0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX):
        raise UnreadableData(f"has a PNG header with an impossible size ({width} x {height})")
    return width, height


_MAX_ATTEMPTS = 5


def read_image_size(file: SmcFile, part: str = "color") -> tuple[int, int] | None:
    """Return (height, width) in px of the first intact picture (color or mask); None if there is none."""
    for camera in file.cameras_with(part)[:_MAX_ATTEMPTS]:
        try:
            for frame in file.frames("Camera", camera, part).frames[:_MAX_ATTEMPTS]:
                if size := _read_size(file, camera, part, frame):
                    return size
        except UnreadableData:  # another camera may be readable
            continue
    return None


def _read_size(file: SmcFile, camera: str, part: str, frame: int) -> tuple[int, int] | None:
    try:
        blob = file.blob("Camera", camera, part, file.frames("Camera", camera, part).stored_name(frame))
        picture = check_picture(blob) if blob is not None else None
    except UnreadableData:
        return None
    return (picture.height, picture.width) if picture is not None and picture.width else None
