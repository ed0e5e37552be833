"""Films of one camera: which frame is shown when, which part of the picture, and where the sound is cut.

Theory of operation: the k-th picture of a film of f pictures a second, at k / f seconds, shows the frame of the source
(s frames a second) that is nearest in time: number (2 k s + f) // (2 f) from the first. Rates are fractions, so nothing
drifts. A hole shows the nearest frame that is there. The sound is cut at the times of the first and last picture.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from rm360_async.dataset import AudioTrack, Camera
from rm360_async.domain.cameras.rig import Array
from rm360_async.export.format import NotExportable

CLIP_FRAMES = 81
"""4 n + 1, as video models take them."""
MIN_CLIP_FRAMES = 17


@dataclass(frozen=True)
class Timeline:
    """Which frame each picture of a film shows: `frames[k]` at k / `fps` seconds after frame `first` was taken."""

    fps: Fraction
    source_fps: Fraction
    first: int
    frames: tuple[int, ...]

    @property
    def span(self) -> range:
        """Return the numbers of the frames from the first to the last that is shown."""
        return range(self.first, self.frames[-1] + 1)

    @property
    def seconds(self) -> Fraction:
        """Return the duration of the film."""
        return len(self.frames) / self.fps

    @property
    def start(self) -> Fraction:
        """Return when the film begins, in seconds of the source."""
        return self.first / self.source_fps


def make_timeline(available: Sequence[int], first: int, last: int, source_fps: float, fps: float) -> Timeline:
    """Return the timeline of a film from frame `first` to `last` (numbers), of the frames that are available."""
    source, target = _fraction(source_fps), _fraction(fps)
    count = max(1, round((last - first + 1) * target / source))
    positions = (min(first + k * source / target, Fraction(last)) for k in range(count))
    return Timeline(target, source, first, tuple(_nearest(available, position) for position in positions))


def _fraction(rate: float) -> Fraction:
    return Fraction(str(rate)).limit_denominator(1001)


def _nearest(available: Sequence[int], position: Fraction) -> int:
    """Return the nearest of sorted frames to a position in frames; of two equally near the later."""
    index = bisect_left(available, position)
    return min(available[max(0, index - 1) : index + 1], key=lambda each: (abs(each - position), -each))


def clips_of(count: int) -> list[tuple[int, int]]:
    """Return first picture and number of pictures of each clip of a film: 81, the last of 4 n + 1, or all of it."""
    clips = [(first, CLIP_FRAMES) for first in range(0, count - CLIP_FRAMES + 1, CLIP_FRAMES)]
    rest = count - len(clips) * CLIP_FRAMES
    if rest >= MIN_CLIP_FRAMES:
        clips.append((count - rest, (rest - 1) // 4 * 4 + 1))
    return clips or [(0, count)]


@dataclass(frozen=True)
class Crop:
    """The part of a picture that is shown, in pixels of it, all even; and the size that it is shown with."""

    x: int
    y: int
    width: int
    height: int
    shown_width: int
    shown_height: int

    def intrinsics(self, K: Array) -> Array:
        """Return K of the film; integer coordinates are pixel centres before and after."""
        scale = np.array([self.shown_width / self.width, self.shown_height / self.height])
        shown = np.array(K, np.float64)
        shown[:2, :2] *= scale[:, None]
        shown[:2, 2] = (K[:2, 2] - [self.x, self.y] + 0.5) * scale - 0.5
        return shown


def full_crop(camera: Camera) -> Crop:
    """Return the whole picture; a last row or column that makes its size uneven is left out, for H.264."""
    width, height = camera.width // 2 * 2, camera.height // 2 * 2
    return Crop(0, 0, width, height, width, height)


def head_crop(camera: Camera, head: Array, radius: float, size: int) -> Crop:
    """Return the square around a ball of this radius (m) at the head, moved and shrunk to lie in the picture."""
    distance = float(np.linalg.norm(head - camera.centre))
    middle = camera.project(head)
    if distance <= radius or not np.isfinite(middle).all():
        raise NotExportable(f"camera {camera.id} does not see the head; its calibration is wrong")
    half = camera.K[0, 0] * radius / np.sqrt(distance**2 - radius**2)
    side = min(2 * int(np.ceil(half)), camera.width // 2 * 2, camera.height // 2 * 2)
    corner = np.clip(middle - (side - 1) / 2, 0, [camera.width - side, camera.height - side])
    x, y = (round(value / 2) * 2 for value in corner.tolist())
    shown = size // 2 * 2
    x, y = min(x, (camera.width - side) // 2 * 2), min(y, (camera.height - side) // 2 * 2)
    return Crop(x, y, side, side, shown, shown)


def cut_sound(track: AudioTrack, start: Fraction, seconds: Fraction) -> NDArray[np.float32]:
    """Return the samples (n, 1 or 2), float32, of a span of time; silence where there is no sound any more."""
    first, count = round(start * Fraction(track.rate)), round(seconds * Fraction(track.rate))
    stored = track.samples[first : first + count, :2]
    scale = 1.0 if stored.dtype.kind == "f" else 1.0 / float(np.iinfo(stored.dtype).max)
    sound = np.zeros((count, stored.shape[1]), np.float32)
    sound[: len(stored)] = np.nan_to_num(stored.astype(np.float32)) * scale
    return sound
