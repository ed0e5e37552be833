"""Pictures of one scale, drawn and encoded once for each look and camera."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from rm360_async.domain.cameras.rig import rig
from rm360_async.synthetic.appearance import Appearance
from rm360_async.synthetic.encoded import encode
from rm360_async.synthetic.head import draw_frame, draw_view, image_size

NOISE = 2.6
"""Standard deviation of the sensor noise; with QUALITY it gives the release's 250 to 300 KB at full size."""

QUALITY = 85
_TILE = 256


class Renderer:
    """Holds the encoded pictures (not the pixels) of what was drawn so far; one thread uses it."""

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self._noise = _sensor_noise(image_size(scale))
        self._films: dict[tuple[Appearance, str], tuple[dict[float, bytes], bytes]] = {}

    def film(self, look: Appearance, camera: str, openings: list[float]) -> tuple[dict[float, bytes], bytes]:
        """Return the JPEG of each mouth opening, and the mask's PNG, of a rig camera."""
        shots, mask = self._films.get((look, camera), ({}, b""))
        missing = sorted(set(openings) - set(shots))
        if missing or not mask:
            view = draw_view(rig()[camera], look, self.scale, self._noise)
            shots.update((opening, encode(draw_frame(view, opening), ".jpg", QUALITY)) for opening in missing)
            mask = mask or encode(view.mask, ".png")
            self._films[look, camera] = shots, mask
        return shots, mask


def _sensor_noise(size: tuple[int, int]) -> NDArray[np.int16]:
    """Return noise (height, width, 3), a repeated tile: drawing it anew for every picture would cost more."""
    tile = cv2.GaussianBlur(np.random.default_rng(7).normal(0.0, NOISE, (_TILE, _TILE, 3)), (0, 0), 0.45)
    repeats = (-(-size[0] // _TILE), -(-size[1] // _TILE), 1)
    return np.ascontiguousarray(np.tile(np.rint(tile).astype(np.int16), repeats)[: size[0], : size[1]])
