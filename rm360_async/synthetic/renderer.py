"""Images of one scale, drawn and encoded once for each appearance and camera."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from rm360_async.domain.cameras.rig import rig
from rm360_async.synthetic.appearance import Appearance
from rm360_async.synthetic.encoded import encode
from rm360_async.synthetic.head import draw_frame, draw_view, image_size
from rm360_async.synthetic.spec import NO_DISTORTION

NOISE_STD = 2.6
"""Standard deviation of the sensor noise; with JPEG_QUALITY it gives the release's 250 to 300 KB at full size."""

JPEG_QUALITY = 85
_NOISE_TILE_PX = 256


class Renderer:
    """Draws images, and keeps their encoded bytes (not the pixels); for use by one thread."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self._noise = _sensor_noise(image_size(scale))
        self._encoded: dict[tuple[Appearance, str, tuple[float, ...]], tuple[dict[float, bytes], bytes]] = {}

    def encode_frames(
        self,
        appearance: Appearance,
        camera: str,
        openings: list[float],
        distortion: tuple[float, ...] = NO_DISTORTION,
    ) -> tuple[dict[float, bytes], bytes]:
        """Return the JPEG for each mouth opening, and the PNG of the mask, as a camera of the rig sees them.

        `distortion` is k1 k2 p1 p2 k3 of its lens.
        """
        key = (appearance, camera, distortion)
        images, mask = self._encoded.get(key, ({}, b""))
        missing = sorted(set(openings) - set(images))
        if missing or not mask:
            with_lens = replace(rig()[camera], D=np.array(distortion))
            view = draw_view(with_lens, appearance, self.scale, self._noise)
            images.update((opening, encode(draw_frame(view, opening), ".jpg", JPEG_QUALITY)) for opening in missing)
            mask = mask or encode(view.mask, ".png")
            self._encoded[key] = images, mask
        return images, mask


def _sensor_noise(size: tuple[int, int]) -> NDArray[np.int16]:
    """Return noise (height, width, 3) as a repeated tile, which is faster than new noise for every image."""
    tile = cv2.GaussianBlur(
        np.random.default_rng(7).normal(0.0, NOISE_STD, (_NOISE_TILE_PX, _NOISE_TILE_PX, 3)), (0, 0), 0.45
    )
    repeats = (-(-size[0] // _NOISE_TILE_PX), -(-size[1] // _NOISE_TILE_PX), 1)
    return np.ascontiguousarray(np.tile(np.rint(tile).astype(np.int16), repeats)[: size[0], : size[1]])
