"""Audio as MP3, by pydub and ffmpeg."""

from __future__ import annotations

import errno
import io
import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rm360_async.smc import UnreadableData
from rm360_async.system.os_errors import os_errors

with warnings.catch_warnings():
    # pydub warns on import when no ffmpeg is on PATH, and about its own old idioms
    warnings.simplefilter("ignore")
    from pydub import AudioSegment
    from pydub.exceptions import CouldntEncodeError

_BITRATE = "320k"
_MIN_RATE = 8000
"""Samples per second."""


def encode_mp3(samples: NDArray[Any], rate: int, programs: Iterable[str], folder: Path) -> bytes:
    """Return audio of shape (n, channels) and any stored dtype as MP3; temporary files lie in `folder` meanwhile.

    `programs` are ffmpegs: the next one is asked when one fails. Raises UnreadableData for audio that no MP3 can hold
    and when none encodes, Fault(DISK_FULL) for a full disk.
    """
    if samples.shape[1] > 2:
        raise UnreadableData(f"has {samples.shape[1]} channels, so no MP3 was made")
    if rate < _MIN_RATE:  # ffmpeg would resample to the lowest MP3 rate, and write without end
        raise UnreadableData(f"has {rate} samples a second, fewer than any MP3, so no MP3 was made")
    data = as_int16(samples).tobytes()
    segment = AudioSegment(data, sample_width=2, frame_rate=rate, channels=samples.shape[1])
    failure = "has no audio.mp3, because there is no ffmpeg here"
    for ffmpeg in programs:
        try:
            return _encode(segment, ffmpeg, folder)
        except UnreadableData as error:
            failure = error.reason
    raise UnreadableData(failure)


def _encode(segment: AudioSegment, ffmpeg: str, folder: Path) -> bytes:
    AudioSegment.converter = ffmpeg
    encoded = io.BytesIO()
    with _temporary_files_in(folder):
        try:
            segment.export(encoded, format="mp3", bitrate=_BITRATE)
        except (CouldntEncodeError, OSError) as error:
            if "No space left" in str(error):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
            lines = str(error).strip().splitlines() or ["no reason given"]
            raise UnreadableData(f"could not be encoded as MP3 ({lines[-1]})") from error
    return encoded.getvalue()


@contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Have pydub put its temporary files into the staging folder.

    It leaves them behind when ffmpeg fails, and so does a worker that is killed; then they are removed with the
    folder.
    """
    default = tempfile.tempdir
    with os_errors("write", folder), tempfile.TemporaryDirectory(prefix=".mp3-", dir=folder) as temporary:
        tempfile.tempdir = temporary
        try:
            yield
        finally:
            tempfile.tempdir = default


def as_int16(samples: NDArray[Any]) -> NDArray[np.int16]:
    """Return the samples as int16; floats are scaled from -1 to 1 and clipped, NaN becomes silence."""
    values: NDArray[Any]
    if samples.dtype.kind == "f":
        values = np.rint(np.clip(np.nan_to_num(samples), -1, 1) * 32767)
    elif samples.dtype == np.uint8:
        values = (samples.astype(np.int32) - 128) * 256
    else:
        values = np.floor(samples * (32768 / (float(np.iinfo(samples.dtype).max) + 1)))
    return values.astype("<i2")
