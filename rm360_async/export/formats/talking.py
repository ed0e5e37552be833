"""Talking heads: a film with its sound, a WAV, clips of both, and a table of which picture shows which frame.

Facts about the readers: AD-NeRF's descendants take one square film of 25 pictures a second and a WAV of 16 kHz; video
models take clips of 4 n + 1 pictures; Hugging Face's `videofolder` wants `file_name` and no column `video`, DiffSynth
wants `video`, so there are two tables; a table of CSV turns ids of digits into numbers, so they have letters. JPEGs are
full range and BT.601, players of films assume limited range and BT.709: without a real conversion the colours are off.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from rm360_async.dataset import PublishedPerformance
from rm360_async.domain.cameras.rig import FRONT_CAMERA
from rm360_async.export.film import clips_of
from rm360_async.export.film_check import check_film
from rm360_async.export.film_writer import DEFAULT_FPS, FilmWriter
from rm360_async.export.format import ExportEstimate, Figures, Format, NotExportable, Unit, Written
from rm360_async.export.options import ExportOptions
from rm360_async.system.ffmpeg import FfmpegFailed, film_ffmpeg

PROMPT = "a person is speaking, head and shoulders, in a studio"
_BYTES_PER_PICTURE, _SECONDS_PER_PICTURE = 4_000, 0.04


class Talking(Format):
    """A film (H.264, AAC), a WAV, clips, a table of the frames and the camera, for each camera."""

    name = "talking"
    description = "film, WAV and clips of the front camera with true rates: talking heads, video models (speech)"
    links = False
    needs = ("images", "calibration", "audio")
    used_options = frozenset({"cameras", "frames", "size", "radius", "fps"})
    by_moment = False
    default_frames = "all"
    default_cameras = (FRONT_CAMERA,)

    def estimate(self, unit: Unit) -> ExportEstimate:
        """Return the film, and as much again for the clips."""
        pictures = round(len(unit.views) * (unit.options.fps or DEFAULT_FPS) / (unit.performance.fps or DEFAULT_FPS))
        clips = len(clips_of(max(1, pictures // len(unit.cameras))))
        files = len(unit.cameras) * (4 + 2 * clips) + 2
        return ExportEstimate(files, 0, 2 * pictures * _BYTES_PER_PICTURE, pictures * _SECONDS_PER_PICTURE)

    def write(self, unit: Unit, staging: Path, options: ExportOptions) -> Written:
        """Write the films, and clips/ of all of them."""
        ffmpeg = film_ffmpeg()
        if ffmpeg is None:
            raise NotExportable("there is no ffmpeg that encodes H.264 and AAC; install imageio-ffmpeg or ffmpeg")
        notes: list[str] = []
        rows: list[dict[str, str]] = []
        pictures = 0
        try:
            for camera in unit.cameras:
                film = FilmWriter(unit, camera, staging / _stem(unit.performance, camera), ffmpeg)
                film.write()
                rows += film.write_clips()
                notes += film.notes()
                pictures += len(film.timeline.frames)
        except FfmpegFailed as error:
            raise NotExportable(f"ffmpeg failed: {error}") from error
        _write_tables(staging / "clips", rows)
        return Written(pictures, notes)

    def check(self, staging: Path, unit: Unit) -> Figures:
        """Decode films and sound, and compare them with the source in time, place and colour."""
        figures: dict[str, float | int | str] = {}
        for camera in unit.cameras:
            measured = check_film(unit.performance, camera, staging / _stem(unit.performance, camera))
            figures |= {f"{name}_cam{camera}": value for name, value in measured.items()}
        return figures


def _write_tables(folder: Path, rows: Sequence[dict[str, str]]) -> None:
    """Write metadata.csv (Hugging Face) and metadata_diffsynth.csv; one file cannot serve both."""
    details = ("subject", "performance", "camera", "first_frame", "pictures", "fps")
    tables = {
        "metadata.csv": (
            ["file_name", *details, "prompt"],
            [[f"{row['name']}.mp4", *(row[key] for key in details), PROMPT] for row in rows],
        ),
        "metadata_diffsynth.csv": (
            ["video", "input_audio", "prompt"],
            [[f"{row['name']}.mp4", f"{row['name']}.wav", PROMPT] for row in rows],
        ),
    }
    for name, (header, lines) in tables.items():
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([header, *lines])


def _stem(performance: PublishedPerformance, camera: str) -> str:
    return f"{performance.subject}_{performance.performance}_cam{camera}"


FORMAT = Talking()
