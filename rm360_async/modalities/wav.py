"""Sound as WAV without loss, and as the 16 bits that MP3 encoders want.

The dataset stores float32. 16- or 24-bit PCM would round it, so the WAV is IEEE float of the stored width
(format tag 3, which every player of today reads); stored integers become PCM of their width.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rm360_async.smc import Refusal

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
        raise Refusal(f"has shape {samples.shape}, not that of a sound")
    return table


def wav_bytes(samples: NDArray[Any], rate: int) -> bytes:
    """Return a WAV file of (n, channels) samples, bit for bit; Refusal for a type that WAV does not have."""
    if samples.dtype.name not in _KINDS:
        raise Refusal(f"holds {samples.dtype}, which no WAV file can hold without loss")
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
