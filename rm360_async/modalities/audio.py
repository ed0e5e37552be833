"""The sound: as stored (npz), without loss (WAV), and small (MP3)."""

from __future__ import annotations

import errno
import io
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rm360_async.catalog import Modality
from rm360_async.modalities.arrays import write_npz
from rm360_async.modalities.wav import interleaved, sixteen_bits, wav_bytes
from rm360_async.modalities.work import Found, Work
from rm360_async.package.writing import writing
from rm360_async.smc import Refusal, read_audio

_BITRATE = "320k"
_LOWEST_RATE = 8000


def extract(work: Work) -> Found:
    """Write audio/audio_data.npz (audio as stored, sample_rate), audio.wav, and audio.mp3 where ffmpeg is."""
    found = Found(Modality.AUDIO)
    if work.source.raw is None:
        return found
    try:
        audio = read_audio(work.source.raw)
    except Refusal as refusal:
        found.leave_out("", None, refusal.reason)
        return found
    if audio is None:
        return found
    found.stored = True
    with work.folder.open("audio/audio_data.npz") as file:
        write_npz(file, {"audio": audio.samples, "sample_rate": np.array(audio.rate)})
    found.files += 1
    _write_playable(work, found, audio.samples, audio.rate)
    return found


def _write_playable(work: Work, found: Found, samples: NDArray[Any], rate: int) -> None:
    try:
        sound = interleaved(samples)
        work.folder.write("audio/audio.wav", wav_bytes(sound, rate))
        found.files += 1
        with _temporary_files_in(work.folder.path):
            encoded = _mp3(sound, rate)
        work.folder.write("audio/audio.mp3", encoded)
        found.files += 1
    except Refusal as refusal:
        found.notes.append(f"audio {refusal.reason}; audio_data.npz has it as stored")


@contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Let pydub's temporary files lie in the staging folder: it leaves them behind when ffmpeg fails.

    So does a child that is killed, and then they go with the folder.
    """
    before = tempfile.tempdir
    with writing(folder), tempfile.TemporaryDirectory(prefix=".mp3-", dir=folder) as inner:
        tempfile.tempdir = inner
        try:
            yield
        finally:
            tempfile.tempdir = before


def _mp3(samples: NDArray[Any], rate: int) -> bytes:
    """Return the sound as MP3; Refusal when there is no ffmpeg, or when it cannot encode this."""
    ffmpeg = find_ffmpeg()
    if samples.shape[1] > 2:
        raise Refusal(f"has {samples.shape[1]} channels, so no MP3 was made")
    if rate < _LOWEST_RATE:  # ffmpeg would stretch it to the lowest that there is, and write without end
        raise Refusal(f"has {rate} samples a second, fewer than any MP3, so none was made")
    with warnings.catch_warnings():
        # pydub warns when it is imported where no ffmpeg is on PATH, and of its own old idioms
        warnings.simplefilter("ignore")
        from pydub import AudioSegment
        from pydub.exceptions import CouldntEncodeError
    AudioSegment.converter = ffmpeg
    data = sixteen_bits(samples).tobytes()
    segment = AudioSegment(data, sample_width=2, frame_rate=rate, channels=samples.shape[1])
    encoded = io.BytesIO()
    try:
        segment.export(encoded, format="mp3", bitrate=_BITRATE)
    except (CouldntEncodeError, OSError) as error:
        if "No space left" in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        last = str(error).strip().splitlines()
        raise Refusal(f"could not be encoded as MP3 ({last[-1] if last else 'no reason given'})") from error
    return encoded.getvalue()


def find_ffmpeg() -> str:
    """Return the ffmpeg on PATH, else the one that imageio-ffmpeg brings; raises Refusal when there is none."""
    found = shutil.which("ffmpeg")
    if found:
        return found
    try:
        import imageio_ffmpeg

        bundled: str = imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise Refusal("has no audio.mp3, because there is no ffmpeg here") from error
    return bundled
