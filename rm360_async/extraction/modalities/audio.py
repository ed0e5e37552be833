"""The sound: as stored (npz), without loss (WAV), and small (MP3)."""

from __future__ import annotations

import errno
import io
import os
import shutil
import struct
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rm360_async.domain.names import Modality
from rm360_async.extraction.arrays import write_npz
from rm360_async.extraction.context import ExtractionContext, ModalityResult
from rm360_async.smc import UnreadableData, read_audio
from rm360_async.system.fault_points import reach
from rm360_async.system.os_errors import os_errors

_BITRATE = "320k"
_LOWEST_RATE = 8000


def extract(work: ExtractionContext) -> ModalityResult:
    """Write audio/audio_data.npz (audio as stored, sample_rate), audio.wav, and audio.mp3 where ffmpeg is."""
    found = ModalityResult(Modality.AUDIO)
    if work.source.raw is None:
        return found
    try:
        audio = read_audio(work.source.raw)
    except UnreadableData as refusal:
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


def _write_playable(work: ExtractionContext, found: ModalityResult, samples: NDArray[Any], rate: int) -> None:
    try:
        sound = interleaved(samples)
        work.folder.write("audio/audio.wav", wav_bytes(sound, rate))
        found.files += 1
        with _temporary_files_in(work.folder.path):
            encoded = _mp3(sound, rate)
            reach("mp3 encoded")
        work.folder.write("audio/audio.mp3", encoded)
        found.files += 1
    except UnreadableData as refusal:
        found.notes.append(f"audio {refusal.reason}; audio_data.npz has it as stored")


@contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Let pydub's temporary files lie in the staging folder: it leaves them behind when ffmpeg fails.

    So does a child that is killed, and then they go with the folder.
    """
    before = tempfile.tempdir
    with os_errors("write", folder), tempfile.TemporaryDirectory(prefix=".mp3-", dir=folder) as inner:
        tempfile.tempdir = inner
        try:
            yield
        finally:
            tempfile.tempdir = before


def _mp3(samples: NDArray[Any], rate: int) -> bytes:
    """Return the sound as MP3; Refusal when there is no ffmpeg, or when it cannot encode this."""
    ffmpeg = find_ffmpeg()
    if samples.shape[1] > 2:
        raise UnreadableData(f"has {samples.shape[1]} channels, so no MP3 was made")
    if rate < _LOWEST_RATE:  # ffmpeg would stretch it to the lowest that there is, and write without end
        raise UnreadableData(f"has {rate} samples a second, fewer than any MP3, so none was made")
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
        raise UnreadableData(f"could not be encoded as MP3 ({last[-1] if last else 'no reason given'})") from error
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
        raise UnreadableData("has no audio.mp3, because there is no ffmpeg here") from error
    return bundled


_PCM, _FLOAT = 1, 3
_KINDS: dict[str, tuple[int, str]] = {
    "float16": (_FLOAT, "<f4"),
    "float32": (_FLOAT, "<f4"),
    "float64": (_FLOAT, "<f8"),
    "uint8": (_PCM, "u1"),
    "int8": (_PCM, "<i2"),
    "int16": (_PCM, "<i2"),
    "int32": (_PCM, "<i4"),
}
_MOST_CHANNELS = 32


def interleaved(samples: NDArray[Any]) -> NDArray[Any]:
    """Return the sound as (n, channels) from (n,), (n, channels) or (channels, n); Refusal otherwise."""
    table = samples.reshape(-1, 1) if samples.ndim == 1 else samples
    if table.shape[1] > table.shape[0]:
        table = table.T
    if table.shape[1] > _MOST_CHANNELS:
        raise UnreadableData(f"has shape {samples.shape}, not that of a sound")
    return table


def wav_bytes(samples: NDArray[Any], rate: int) -> bytes:
    """Return a WAV file of (n, channels) samples, bit for bit; Refusal for a type that WAV does not have."""
    if samples.dtype.name not in _KINDS:
        raise UnreadableData(f"holds {samples.dtype}, which no WAV file can hold without loss")
    tag, dtype = _KINDS[samples.dtype.name]
    data = np.ascontiguousarray(samples, dtype).tobytes()
    channels, width = samples.shape[1], np.dtype(dtype).itemsize
    block = channels * width
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * block, block, 8 * width)
    chunks = _chunk(b"fmt ", form if tag == _PCM else form + b"\0\0")
    if tag == _FLOAT:  # the format asks for it where the tag is not PCM
        chunks += _chunk(b"fact", struct.pack("<I", len(samples)))
    chunks += _chunk(b"data", data)
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def sixteen_bits(samples: NDArray[Any]) -> NDArray[np.int16]:
    """Return the sound as int16; floats are taken as -1 to 1 and clipped, what is no number is silence."""
    values: NDArray[Any]
    if samples.dtype.kind == "f":
        values = np.rint(np.clip(np.nan_to_num(samples), -1, 1) * 32767)
    elif samples.dtype == np.uint8:
        values = (samples.astype(np.int32) - 128) * 256
    else:
        values = np.floor(samples * (32768 / (float(np.iinfo(samples.dtype).max) + 1)))
    return values.astype("<i2")


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
