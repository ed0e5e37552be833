"""Check a film against its source: the times of its pictures, what they show and where, their colours, and the sound.

The film is decoded by ffmpeg and compared with stored pictures decoded at another size; which frame belongs to which
time is computed here from the rates, not taken from the writer.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rm360_async.dataset import PublishedPerformance
from rm360_async.domain.cameras.rig import Array, scale_intrinsics
from rm360_async.export.canonical import choose_reduction
from rm360_async.export.canonical_check import MAX_BLOCK_DIFFERENCE, MIN_CORRELATION, MOMENT_SLACK
from rm360_async.export.format import CheckFailed
from rm360_async.export.reference_projection import require
from rm360_async.export.registration import Grey, register
from rm360_async.export.sound_check import sound_lag
from rm360_async.system.ffmpeg import FfmpegFailed, ffmpeg_output, film_ffmpeg

COMPARED_HEIGHT_PX = 128
MAX_PAIRS = 30
"""Pairs of pictures, one after the other, that are compared, spread over the film."""
MAX_SHIFT_PX = 0.1
"""Of the compared pictures."""
MAX_COLOUR_BIAS = 1.8
"""Grey levels, on average over a picture; without the conversion to limited range they are 3 to 5 off."""
MAX_SOUND_LAG_S = 0.004
_MOMENT_SLACK_SQUARED_LEVELS = 1.0


def check_film(performance: PublishedPerformance, camera: str, stem: Path) -> dict[str, float | int | str]:
    """Check `<stem>.mp4`, `.wav`, `.frames.csv` and `.json`, and return the figures. Raises CheckFailed."""
    ffmpeg = film_ffmpeg()
    require(ffmpeg is not None, "there is no ffmpeg to decode the film with")
    assert ffmpeg is not None
    try:
        description = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
        frames = _read_frames(performance, Path(f"{stem}.frames.csv"), description)
        _require_times(ffmpeg, Path(f"{stem}.mp4"), len(frames), Fraction(str(description["fps"])))
        pictures = _check_pictures(performance, camera, Path(f"{stem}.mp4"), description, frames, ffmpeg)
        lag = max(
            sound_lag(performance, Path(f"{stem}{end}"), description, len(frames), ffmpeg) for end in (".mp4", ".wav")
        )
    except FfmpegFailed as error:
        raise CheckFailed(f"{stem.name} cannot be decoded: {error}") from error
    require(lag <= MAX_SOUND_LAG_S, f"the sound is {1000 * lag:.0f} ms from where it belongs")
    return {"pictures": len(frames), **pictures, "sound_lag_ms": round(1000 * lag, 3)}


def _read_frames(performance: PublishedPerformance, path: Path, description: dict[str, Any]) -> list[int]:
    """Return which frame each picture shows by the table; raise CheckFailed if one is not the nearest in time."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    fps, source_fps = Fraction(str(description["fps"])), Fraction(str(description["source_fps"]))
    require(float(source_fps) == performance.fps, f"source_fps is {float(source_fps):g}, not {performance.fps}")
    available = np.array(performance.frames(description["camera"][-2:]))
    for k, row in enumerate(rows):
        wanted = float(k / fps * source_fps) + description["first_frame"]
        nearest = float(np.abs(available - min(wanted, available[-1])).min())
        distance = abs(int(row["frame"]) - min(wanted, available[-1]))
        in_time = abs(float(row["time_s"]) - float(k / fps)) < 1e-5 and int(row["k"]) == k
        require(in_time and distance <= max(nearest, 0.5) + 1e-6, f"{path.name}: row {k} is not the frame of its time")
    return [int(row["frame"]) for row in rows]


def _require_times(ffmpeg: str, film: Path, count: int, fps: Fraction) -> None:
    """Raise CheckFailed if the film has not `count` pictures, one every 1 / fps seconds, the first at 0."""
    listing = b"".join(
        ffmpeg_output(ffmpeg, ["-i", str(film), "-map", "0:v", "-c", "copy", "-f", "framecrc", "-"], 65536)
    )
    lines = listing.decode().splitlines()
    base = next(Fraction(line.split()[-1]) for line in lines if line.startswith("#tb"))
    times = [int(line.split(",")[2]) * base for line in lines if not line.startswith("#")]
    require(len(times) == count, f"{film.name} has {len(times)} pictures, not {count}")
    late = max(abs(float(time - k / fps)) for k, time in enumerate(times))
    require(late < 0.001, f"{film.name}: a picture is {1000 * late:.0f} ms from its time at {float(fps):g} a second")


def _check_pictures(
    performance: PublishedPerformance,
    camera: str,
    film: Path,
    description: dict[str, Any],
    frames: list[int],
    ffmpeg: str,
) -> dict[str, float | int | str]:
    """Compare pairs of pictures, one after the other, with their frames; return the worst figures."""
    expected_of = _SourcePictures(performance, camera, description)
    firsts = np.unique(np.linspace(0, max(0, len(frames) - 2), MAX_PAIRS).round().astype(int)).tolist()
    chosen = {index for first in firsts for index in (first, first + 1)}
    shift, bias, difference, correlation = 0.0, 0.0, 0.0, 1.0
    before: tuple[int, Grey, Grey] | None = None
    for k, picture in enumerate(_decoded(ffmpeg, film, expected_of.size)):
        if k not in chosen or k >= len(frames):
            continue
        expected = expected_of.picture(frames[k])
        found = register(_grey(picture), _grey(expected))
        what = f"picture {k} (frame {frames[k]}) of {film.name}"
        require(found.correlation >= MIN_CORRELATION, f"{what} shows another picture")
        require(found.shift <= MAX_SHIFT_PX, f"{what} lies {found.shift:.2f} px of {COMPARED_HEIGHT_PX} from its place")
        require(found.block_difference <= MAX_BLOCK_DIFFERENCE, f"{what} shows another moment")
        now = (k, _grey(picture), _grey(expected))
        if before is not None and before[0] == k - 1:
            _require_moments(before, now, film.name)
        before = now
        shift, difference = max(shift, found.shift), max(difference, found.block_difference)
        correlation = min(correlation, found.correlation)
        bias = max(bias, float(np.abs((picture - expected).mean(axis=(0, 1))).max()))
    require(bias <= MAX_COLOUR_BIAS, f"the colours of {film.name} are {bias:.1f} levels off")
    return {
        "pictures_compared": len(chosen & set(range(len(frames)))),
        "largest_shift_px": round(shift * expected_of.scale, 3),
        "largest_block_difference": round(difference, 2),
        "lowest_correlation": round(correlation, 4),
        "colour_bias": round(bias, 2),
    }


def _require_moments(before: tuple[int, Grey, Grey], now: tuple[int, Grey, Grey], name: str) -> None:
    """Raise CheckFailed if a picture is more like the frame of its neighbour than like its own."""
    for own, other in ((before, now), (now, before)):
        to_own, to_other = (float(((own[1] - each[2]) ** 2).mean()) for each in (own, other))
        if to_own > MOMENT_SLACK * to_other + _MOMENT_SLACK_SQUARED_LEVELS:
            raise CheckFailed(f"picture {own[0]} of {name} shows the moment of picture {other[0]}")


class _SourcePictures:
    """Stored pictures as the film's camera, by its written K, should show them, at the compared size."""

    def __init__(self, performance: PublishedPerformance, camera: str, description: dict[str, Any]) -> None:
        self._performance, self._camera = performance, camera
        stored = performance.cameras[camera].K
        height, width = int(description["height"]), int(description["width"])
        shown_height = min(COMPARED_HEIGHT_PX, height)
        self.scale = height / shown_height
        self.size = (max(2, round(width / self.scale)), shown_height)
        written = scale_intrinsics(np.array(description["K"], np.float64), 1 / self.scale)
        self._reduce = choose_reduction(float(stored[0, 0]), float(written[0, 0]))
        self._map = self._sample_map(scale_intrinsics(written, 2), scale_intrinsics(stored, 1 / self._reduce))

    def picture(self, frame: int) -> NDArray[np.float32]:
        """Return RGB (height, width, 3) of a frame."""
        stored = self._performance.image(self._camera, frame, reduce=self._reduce)
        samples = cv2.remap(stored, self._map, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[call-overload]
        return np.asarray(cv2.resize(samples, self.size, interpolation=cv2.INTER_AREA), np.float32)

    def _sample_map(self, shown: Array, stored: Array) -> NDArray[np.float32]:
        """Return where two samples a side of each pixel lie in the reduced picture; both have the same lens."""
        x = (np.arange(2 * self.size[0]) - shown[0, 2]) / shown[0, 0] * stored[0, 0] + stored[0, 2]
        y = (np.arange(2 * self.size[1]) - shown[1, 2]) / shown[1, 1] * stored[1, 1] + stored[1, 2]
        return np.stack(np.meshgrid(x, y), axis=-1).astype(np.float32)


def _decoded(ffmpeg: str, film: Path, size: tuple[int, int]) -> Iterator[NDArray[np.float32]]:
    """Yield the pictures of a film, RGB (height, width, 3), at a smaller size."""
    width, height = size
    scale = f"scale={width}:{height}:in_color_matrix=bt709:in_range=tv:flags=area+accurate_rnd+full_chroma_int"
    arguments = ["-i", str(film), "-map", "0:v", "-fps_mode", "passthrough", "-vf", f"{scale},format=rgb24"]
    for data in ffmpeg_output(ffmpeg, [*arguments, "-f", "rawvideo", "-"], width * height * 3):
        if len(data) == width * height * 3:
            yield np.frombuffer(data, np.uint8).reshape(height, width, 3).astype(np.float32)


def _grey(picture: NDArray[np.float32]) -> Grey:
    return np.asarray(picture.mean(axis=2), np.float32)
