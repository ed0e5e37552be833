"""Write the film of one camera: ffmpeg gets the stored JPEGs, and cuts, resizes, converts and encodes."""

from __future__ import annotations

import csv
import json
import wave
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rm360_async.domain.names import camera_folder
from rm360_async.export.canonical import DEFAULT_RADIUS, DEFAULT_SIZE
from rm360_async.export.film import Crop, Timeline, clips_of, cut_sound, full_crop, head_crop, make_timeline
from rm360_async.export.format import NotExportable, Unit, shortened
from rm360_async.export.options import FULL_SIZE
from rm360_async.export.point_cloud import head_centre_of
from rm360_async.system.ffmpeg import run_ffmpeg

DEFAULT_FPS = 25.0
SPEECH_RATE, FILM_RATE = 16_000, 48_000
"""Samples a second of the WAV, and of the sound in the film."""
_CRF = "14"
_SPEECH = ("-ac", "1", "-ar", str(SPEECH_RATE), "-c:a", "pcm_s16le")


class FilmWriter:
    """One camera's film and what belongs to it, under one stem in the staging folder."""

    def __init__(self, unit: Unit, camera: str, stem: Path, ffmpeg: str) -> None:
        self.unit, self.options, self.ffmpeg = unit, unit.options, ffmpeg
        self.camera = unit.performance.cameras[camera]
        self.stem = stem
        self.timeline = timeline_of(unit, camera)
        self.crop = crop_of(unit, camera)
        self.sound = cut_sound(unit.performance.audio, self.timeline.start, self.timeline.seconds)
        self.rate = round(unit.performance.audio.rate)

    def write(self) -> None:
        """Write the film, the WAV, the table and the camera."""
        sound = self.stem.with_suffix(".f32")
        sound.write_bytes(self.sound.tobytes())
        self._encode_film(sound)
        self._run([*self._sound_input(sound), *_SPEECH, f"{self.stem}.wav"])
        sound.unlink()
        self._write_table()
        self.stem.with_suffix(".json").write_text(json.dumps(self._description(), indent=1) + "\n", encoding="utf-8")

    def write_clips(self) -> list[dict[str, str]]:
        """Cut the film at its key frames, and the sound at the same times; return the rows of the tables."""
        folder = self.stem.parent / "clips"
        folder.mkdir(exist_ok=True)
        clips = clips_of(len(self.timeline.frames))
        bounds = ",".join(str(first + count) for first, count in clips)
        pieces = folder / f"{self.stem.name}-%04d.piece.mp4"
        cut = ["-f", "segment", "-segment_frames", bounds, "-reset_timestamps", "1", "-segment_format", "mp4"]
        self._run(["-i", f"{self.stem}.mp4", "-map", "0:v", "-c", "copy", *cut, str(pieces)])
        speech = read_wav(self.stem.with_suffix(".wav"))
        rows = [self._write_clip(folder, number, clip, speech) for number, clip in enumerate(clips)]
        for piece in folder.glob("*.piece.mp4"):
            piece.unlink()
        return rows

    def notes(self) -> list[str]:
        """Return sentences about rates that differ, and about holes."""
        timeline, camera = self.timeline, self.camera.id
        notes = []
        if timeline.fps != timeline.source_fps:
            offset = float(500 / timeline.source_fps)
            rates = f"{float(timeline.source_fps):g} to {float(timeline.fps):g} pictures a second"
            notes.append(f"cam_{camera}: {rates}: a picture is up to {offset:.0f} ms from its time")
        available = frozenset(self.unit.performance.frames(camera))
        holes = tuple(frame for frame in timeline.span if frame not in available)
        if holes:
            text = f"{len(holes)} frames are not in the source, the nearest is shown: {shortened(holes)}"
            notes.append(f"cam_{camera}: {text}")
        return notes

    def _encode_film(self, sound: Path) -> None:
        fps, crop = self.timeline.fps, self.crop
        kernel = "area" if crop.shown_width < crop.width else "bicubic"
        filters = (
            f"crop={crop.width}:{crop.height}:{crop.x}:{crop.y}:exact=1,"
            f"scale={crop.shown_width}:{crop.shown_height}:in_range=full:out_range=tv:in_color_matrix=bt601"
            f":out_color_matrix=bt709:flags={kernel}+accurate_rnd+full_chroma_int,format=yuv420p,"
            "setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709"
        )
        keys = ["-g", str(max(1, round(fps))), "-force_key_frames", f"expr:eq(mod(n,{clip_length(self.timeline)}),0)"]
        tags = ["-color_range", "tv", "-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709"]
        video = ["-c:v", "libx264", "-preset", "veryfast", "-crf", _CRF, "-bf", "0", *keys, *tags]
        pictures = ["-f", "image2pipe", "-c:v", "mjpeg", "-framerate", _text(fps), "-i", "pipe:0"]
        audio = ["-c:a", "aac", "-b:a", "192k", "-ar", str(FILM_RATE)]
        arguments = [*pictures, *self._sound_input(sound), "-map", "0:v", "-map", "1:a", "-vf", filters, *video, *audio]
        threads = ["-threads", str(self.options.threads)]
        self._run([*threads, *arguments, "-movflags", "+faststart", f"{self.stem}.mp4"], self._stored_pictures())

    def _stored_pictures(self) -> Iterator[bytes]:
        """Yield the stored JPEG of each picture of the film."""
        for frame in self.timeline.frames:
            data = self.unit.performance.image_bytes(self.camera.id, frame)
            if not data.startswith(b"\xff\xd8"):
                raise NotExportable(f"the picture of frame {frame} is not a JPEG, which ffmpeg is given")
            yield data

    def _sound_input(self, path: Path) -> list[str]:
        return ["-f", "f32le", "-ar", str(self.rate), "-ac", str(self.sound.shape[1]), "-i", str(path)]

    def _run(self, arguments: Sequence[str], chunks: Iterable[bytes] = ()) -> None:
        run_ffmpeg(self.ffmpeg, arguments, chunks)

    def _write_table(self) -> None:
        with Path(f"{self.stem}.frames.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["k", "time_s", "frame"])
            writer.writerows(
                (k, f"{float(k / self.timeline.fps):.6f}", frame) for k, frame in enumerate(self.timeline.frames)
            )

    def _description(self) -> dict[str, Any]:
        crop, performance = self.crop, self.unit.performance
        return {
            "subject": performance.subject,
            "performance": performance.performance,
            "camera": camera_folder(self.camera.id),
            "fps": float(self.timeline.fps),
            "source_fps": float(self.timeline.source_fps),
            "first_frame": self.timeline.first,
            "crop": [crop.x, crop.y, crop.width, crop.height],
            "width": crop.shown_width,
            "height": crop.shown_height,
            "K": crop.intrinsics(self.camera.K).tolist(),
            "D": self.camera.D.tolist(),
            "RT": self.camera.RT.tolist(),
            "pixel_center": "integer",
        }

    def _write_clip(
        self, folder: Path, number: int, clip: tuple[int, int], speech: NDArray[np.int16]
    ) -> dict[str, str]:
        """Write one clip with its sound, and its WAV; return its row."""
        first, count = clip
        name = f"{self.stem.name}-{number:04d}"
        start, end = Fraction(first) / self.timeline.fps, Fraction(first + count) / self.timeline.fps
        sound = folder / f"{name}.f32"
        sound.write_bytes(self.sound[round(start * self.rate) : round(end * self.rate)].tobytes())
        inputs = ["-i", str(folder / f"{name}.piece.mp4"), *self._sound_input(sound)]
        audio = ["-c:a", "aac", "-b:a", "192k", "-ar", str(FILM_RATE)]
        self._run([*inputs, "-map", "0:v", "-map", "1:a", "-c:v", "copy", *audio, str(folder / f"{name}.mp4")])
        sound.unlink()
        write_wav(folder / f"{name}.wav", speech[round(start * SPEECH_RATE) : round(end * SPEECH_RATE)])
        performance = self.unit.performance
        return {
            "name": name,
            "subject": f"s{performance.subject}",
            "performance": performance.performance,
            "camera": camera_folder(self.camera.id),
            "first_frame": str(self.timeline.frames[first]),
            "pictures": str(count),
            "fps": f"{float(self.timeline.fps):g}",
        }


def timeline_of(unit: Unit, camera: str) -> Timeline:
    """Return the timeline of a camera's film; all frames begin at frame 0, with the sound."""
    performance = unit.performance
    if performance.fps is None:
        raise NotExportable("its frame rate is not known")
    available = [frame for cam, frame in sorted(unit.views) if cam == camera]
    if not available:
        raise NotExportable(f"camera {camera} has none of the selected frames")
    first = 0 if unit.options.frames in (None, "all") else unit.frames[0]
    return make_timeline(available, first, unit.frames[-1], performance.fps, unit.options.fps or DEFAULT_FPS)


def crop_of(unit: Unit, camera_id: str) -> Crop:
    """Return which part of a camera's pictures is shown: a square at the head, or with `--size full` all."""
    camera, options = unit.performance.cameras[camera_id], unit.options
    if options.size == FULL_SIZE:
        return full_crop(camera)
    head = head_centre_of(unit.performance)
    return head_crop(camera, head, options.radius or DEFAULT_RADIUS, int(options.size or DEFAULT_SIZE))


def clip_length(timeline: Timeline) -> int:
    """Return the distance of the clips' first pictures, which are key frames."""
    return clips_of(len(timeline.frames))[0][1]


def read_wav(path: Path) -> NDArray[np.int16]:
    """Return the samples (n,) of a WAV of one channel of 16 bits."""
    with wave.open(str(path), "rb") as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def write_wav(path: Path, samples: NDArray[np.int16]) -> None:
    """Write a WAV of one channel of 16 bits, 16,000 samples a second."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SPEECH_RATE)
        file.writeframes(samples.astype("<i2").tobytes())


def _text(rate: Fraction) -> str:
    return f"{rate.numerator}/{rate.denominator}"
