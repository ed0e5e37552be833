"""The images of a page: one frame of every camera, decoded once and small, outlines of masks, and limited JPEGs."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from rm360_async.dataset import MissingData
from rm360_async.domain.cameras.rig import Array
from rm360_async.visualization.report.page_data import PageData
from rm360_async.visualization.thumbnail import DECODER_THREADS, Image, decode_reduced, resize_to_width

THUMBNAIL_WIDTH = 160
"""Width in pixels of a picture in the contact sheet."""
LARGE_WIDTH = 900
"""Width in pixels of the pictures that lie beside a page."""
_LARGE_OPTIONS = (cv2.IMWRITE_JPEG_QUALITY, 78, cv2.IMWRITE_JPEG_OPTIMIZE, 1)
_FEW_WIDTHS = ((2, 640), (8, 400), (24, 260))
"""So many cameras at most, and the width in pixels of their pictures in the contact sheet."""
_LANDMARK_WIDTH = 600
"""Width in pixels to decode if landmarks are drawn on the picture."""
_MASK_WIDTH = 300
_MAX_OUTLINES, _MAX_OUTLINE_POINTS = 2, 80
"""Outlines of a mask, and points of each: a mask of noise must not make the page large."""
_MIN_OUTLINE_SHARE = 1e-3
"""Parts of a mask smaller than this share of the image are not drawn."""
_OUTLINE_TOLERANCE_PX = 0.6
_JPEG_QUALITIES = (80, 70, 55, 40, 25, 10)


@dataclass(frozen=True)
class FrameImage:
    """The page's frame of one camera.

    `picture` is None if it is broken or not to be shown; `mask_outlines` are points (N, 2) in pixels of the full image.
    """

    picture: Image | None
    mask_outlines: tuple[Array, ...]
    has_mask: bool
    landmark_picture: Image | None = None
    """The picture of the frame to show with landmarks, larger; mostly the same frame, and then the same picture."""
    large: bytes | None = None
    """The picture as a JPEG of at most LARGE_WIDTH."""

    def is_in_mask(self, point: Array) -> bool:
        """Return True if a point (2,) in pixels of the full image lies in the mask."""
        x, y = (float(value) for value in point)
        outlines = (outline.astype(np.float32) for outline in self.mask_outlines)
        return any(cv2.pointPolygonTest(outline, (x, y), False) >= 0 for outline in outlines)


def thumbnail_width(cameras: int) -> int:
    """Return the width in pixels of the pictures in a contact sheet: the fewer there are, the larger they are."""
    return next((width for count, width in _FEW_WIDTHS if cameras <= count), THUMBNAIL_WIDTH)


def load_frame_images(data: PageData) -> dict[str, FrameImage]:
    """Return the images of every camera that has the page's frame; a few threads decode them."""
    cameras = [camera for camera, files in data.folder.frames.items() if data.frame in files]
    with ThreadPoolExecutor(DECODER_THREADS, thread_name_prefix="frame-image") as pool:
        images = pool.map(lambda camera: _load_frame_image(data, camera, thumbnail_width(len(cameras))), cameras)
        return dict(zip(cameras, images, strict=True))


def _load_frame_image(data: PageData, camera: str, width: int) -> FrameImage:
    files, landmark_frame = data.folder.frames[camera], data.landmark_frame(camera)
    picture = landmark_picture = large = None
    if data.faces:
        decoded = decode_reduced(files[data.frame], LARGE_WIDTH)
        if decoded is not None:
            large = _encode_large(decoded)
            picture = landmark_picture = _reduced(decoded, width if landmark_frame is None else _LANDMARK_WIDTH)
        if landmark_frame not in (None, data.frame):
            landmark_picture = decode_reduced(files[landmark_frame], _LANDMARK_WIDTH)
    mask = _load_mask(data, camera) if camera in data.inventory.masks else None
    outlines = () if mask is None or data.size is None else _mask_outlines(mask, data.size[1])
    return FrameImage(picture, outlines, mask is not None, landmark_picture, large)


def _encode_large(picture: Image) -> bytes:
    return cv2.imencode(".jpg", _reduced(picture, LARGE_WIDTH), _LARGE_OPTIONS)[1].tobytes()


def _reduced(picture: Image, width: int) -> Image:
    """Return the picture, at most `width` pixels wide: sixty full ones would take half a gigabyte."""
    return picture if picture.shape[1] <= width else resize_to_width(picture, width)


def _load_mask(data: PageData, camera: str) -> Image | None:
    try:
        path = data.folder.performance.mask_path(camera, data.frame)
    except MissingData:
        return None
    return decode_reduced(path, _MASK_WIDTH)


def _mask_outlines(mask: Image, width: int) -> tuple[Array, ...]:
    """Return the outlines (N, 2) of the bright parts of a mask, in pixels of an image of this width."""
    scale = width / mask.shape[1]
    bright = np.asarray(mask.max(axis=2) > 127, np.uint8)
    contours, _ = cv2.findContours(bright, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    large = [contour for contour in contours if cv2.contourArea(contour) >= _MIN_OUTLINE_SHARE * bright.size]
    largest_first = sorted(large, key=cv2.contourArea)[: -_MAX_OUTLINES - 1 : -1]
    outlines = (
        cv2.approxPolyDP(contour, _OUTLINE_TOLERANCE_PX, True)[:, 0].astype(np.float64) for contour in largest_first
    )
    return tuple((outline[:: len(outline) // _MAX_OUTLINE_POINTS + 1] + 0.5) * scale - 0.5 for outline in outlines)


def encode_jpegs_within(pictures: Mapping[str, Image], max_bytes: int) -> dict[str, bytes]:
    """Return the pictures as JPEG, at the best quality with which all together have at most `max_bytes`.

    If even the lowest quality needs more, the pictures have that.
    """
    encoded: dict[str, bytes] = {}
    for quality in _JPEG_QUALITIES:
        options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
        encoded = {key: cv2.imencode(".jpg", picture, options)[1].tobytes() for key, picture in pictures.items()}
        if sum(map(len, encoded.values())) <= max_bytes:
            break
    return encoded
