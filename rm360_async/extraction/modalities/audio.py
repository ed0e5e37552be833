"""Audio: as stored (npz), lossless (WAV), and compressed (MP3)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rm360_async.domain.names import Modality
from rm360_async.extraction.arrays import write_npz
from rm360_async.extraction.context import ExtractionContext, Extractor, ModalityResult
from rm360_async.smc import Audio, UnreadableData, read_audio
from rm360_async.store.file_list import ListedFile
from rm360_async.store.file_writer import FileWriter
from rm360_async.system.fault_points import reach
from rm360_async.system.ffmpeg import ffmpeg_candidates


def extract(context: ExtractionContext) -> ModalityResult:
    """Write audio/audio_data.npz (audio as stored, sample_rate), audio.wav, and audio.mp3 if there is an ffmpeg."""
    return start(context)(context)


def start(context: ExtractionContext) -> Extractor:
    """Read the audio and begin to write it, in a process of its own; return the function that waits for the result."""
    result = ModalityResult(Modality.AUDIO)
    try:
        audio = read_audio(context.source.raw) if context.source.raw is not None else None
    except UnreadableData as error:
        result.leave_out("", None, error.reason)
        return lambda context: result
    if audio is None:
        return lambda context: result
    write = partial(_write, audio=audio, ffmpeg=context.ffmpeg)
    finish = context.copier.start_task("writes the audio", write)

    def wait(context: ExtractionContext) -> ModalityResult:
        result.stored = True
        result.files, result.notes = finish()
        return result

    return wait


def _write(writer: FileWriter, add: Callable[[ListedFile], None], audio: Audio, ffmpeg: str | None) -> list[str]:
    """Write the files, report each with `add`, and return the notes about what is missing."""
    with writer.open("audio/audio_data.npz", add) as file:
        write_npz(file, {"audio": audio.samples, "sample_rate": np.array(audio.rate)})
    try:
        channels = as_channels(audio.samples)
        add(writer.write("audio/audio.wav", wav_bytes(channels, audio.rate)))
        programs = [ffmpeg] if ffmpeg is not None else ffmpeg_candidates()
        from rm360_async.extraction.modalities.mp3 import encode_mp3  # with pydub, which only an MP3 needs

        encoded = encode_mp3(channels, audio.rate, programs, writer.path)
        reach("mp3 encoded")
        add(writer.write("audio/audio.mp3", encoded))
    except UnreadableData as error:
        return [f"audio {error.reason}; audio_data.npz has it as stored"]
    return []


_PCM, _FLOAT = 1, 3
_WAV_FORMATS: dict[str, tuple[int, str]] = {
    "float16": (_FLOAT, "<f4"),
    "float32": (_FLOAT, "<f4"),
    "float64": (_FLOAT, "<f8"),
    "uint8": (_PCM, "u1"),
    "int8": (_PCM, "<i2"),
    "int16": (_PCM, "<i2"),
    "int32": (_PCM, "<i4"),
}
"""By the stored dtype: the format tag, and the dtype in the file."""
_MAX_CHANNELS = 32


def as_channels(samples: NDArray[Any]) -> NDArray[Any]:
    """Return the audio as (n, channels) from (n,), (n, channels) or (channels, n); else raises UnreadableData."""
    table = samples.reshape(-1, 1) if samples.ndim == 1 else samples
    if table.shape[1] > table.shape[0]:
        table = table.T
    if table.shape[1] > _MAX_CHANNELS:
        raise UnreadableData(f"has shape {samples.shape}, not that of audio")
    return table


def wav_bytes(samples: NDArray[Any], rate: int) -> bytes:
    """Return a lossless WAV file of (n, channels) samples; raises UnreadableData for a dtype that WAV does not have."""
    if samples.dtype.name not in _WAV_FORMATS:
        raise UnreadableData(f"holds {samples.dtype}, which no WAV file can hold without loss")
    tag, dtype = _WAV_FORMATS[samples.dtype.name]
    data = np.ascontiguousarray(samples, dtype).tobytes()
    channels, width = samples.shape[1], np.dtype(dtype).itemsize
    block = channels * width
    form = struct.pack("<HHIIHH", tag, channels, rate, rate * block, block, 8 * width)
    chunks = _chunk(b"fmt ", form if tag == _PCM else form + b"\0\0")
    if tag == _FLOAT:  # the format requires it if the tag is not PCM
        chunks += _chunk(b"fact", struct.pack("<I", len(samples)))
    chunks += _chunk(b"data", data)
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def _chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
