"""One frame of every camera: its picture, decoded once and small, and the outline of its mask."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from rm360_async.domain.cameras.rig import Array
from rm360_async.domain.names import camera_folder, frame_stem
from rm360_async.visualization.report.page_data import PageData
from rm360_async.visualization.thumbnail import Image, decode_reduced

THUMBNAIL = 160
"""Width in pixels of a picture in the contact sheet."""
_CLOSE = 600
"""Width to decode where landmarks are drawn on the picture."""
_MASK = 300
_THREADS = 4
_RIMS, _POINTS = 2, 80
"""Most outlines of a mask, and most points of each: a mask that is noise must not make the page large."""
_SPECK = 1e-3
"""Parts of a mask smaller than this share of the image are not drawn."""


@dataclass(frozen=True)
class FrameImage:
    """The picture (None: not to be shown, or broken), and the rims (N, 2) of its mask in pixels of the full image."""

    picture: Image | None
    rims: tuple[Array, ...]
    has_mask: bool
    close: Image | None = None
    """The picture of the frame to show with landmarks, larger; mostly the same frame, and then the same picture."""

    def inside(self, place: Array) -> bool:
        """Tell whether a place (2,) in pixels of the full image lies in the mask."""
        x, y = (float(value) for value in place)
        return any(cv2.pointPolygonTest(rim.astype(np.float32), (x, y), False) >= 0 for rim in self.rims)


def load_frame_images(material: PageData) -> dict[str, FrameImage]:
    """Return the shot of every camera that has the frame to show; decoded by a few threads."""
    having = [camera for camera, files in material.folder.frames.items() if material.frame in files]
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="shot") as pool:
        return dict(zip(having, pool.map(lambda camera: _shot(material, camera), having), strict=True))


def _shot(material: PageData, camera: str) -> FrameImage:
    files, close_frame = material.folder.frames[camera], material.close_frame(camera)
    picture = close = None
    if material.faces:
        picture = decode_reduced(files[material.frame], THUMBNAIL if close_frame is None else _CLOSE)
        close = picture if close_frame in (None, material.frame) else decode_reduced(files[close_frame], _CLOSE)
    mask = _mask(material.folder.path, camera, material.frame) if camera in material.inventory.masks else None
    rims = () if mask is None or material.size is None else _rims(mask, material.size[1])
    return FrameImage(picture, rims, mask is not None, close)


def _mask(folder: Path, camera: str, frame: int) -> Image | None:
    place = folder / "masks" / camera_folder(camera) / frame_stem(frame)
    path = next((path for path in (place.with_suffix(".png"), place.with_suffix(".jpg")) if path.is_file()), None)
    return None if path is None else decode_reduced(path, _MASK)


def _rims(mask: Image, width: int) -> tuple[Array, ...]:
    """Return the outlines of what is bright in a mask, in pixels of an image of this width."""
    factor = width / mask.shape[1]
    bright = np.asarray(mask.max(axis=2) > 127, np.uint8)
    found, _ = cv2.findContours(bright, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    large = sorted((rim for rim in found if cv2.contourArea(rim) >= _SPECK * bright.size), key=cv2.contourArea)
    rims = (cv2.approxPolyDP(rim, 0.6, True)[:, 0].astype(np.float64) for rim in large[: -_RIMS - 1 : -1])
    return tuple((rim[:: len(rim) // _POINTS + 1] + 0.5) * factor - 0.5 for rim in rims)
