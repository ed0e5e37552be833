"""By how much the sound of an exported file is early or late."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rm360_async.dataset import PublishedPerformance
from rm360_async.system.ffmpeg import ffmpeg_output

_RATE = 16_000


def sound_lag(
    performance: PublishedPerformance, path: Path, description: dict[str, Any], count: int, ffmpeg: str
) -> float:
    """Return by how many seconds the sound of a file is early or late; infinite if it is another sound."""
    arguments = ["-i", str(path), "-map", "0:a", "-ac", "1", "-ar", str(_RATE), "-f", "f32le", "-"]
    decoded = np.frombuffer(b"".join(ffmpeg_output(ffmpeg, arguments, 2**20)), np.float32)
    track = performance.audio
    start = description["first_frame"] / description["source_fps"]
    seconds = count / description["fps"]
    times = start + np.arange(round(seconds * _RATE)) / _RATE
    samples = _low_passed(track.mono, track.rate)
    source = np.interp(times, np.arange(len(samples)) / track.rate, samples, right=0.0).astype(np.float32)
    if abs(len(decoded) - len(source)) > 0.1 * _RATE:
        return float("inf")
    if float(np.abs(source).max(initial=0.0)) < 1e-4:
        return 0.0
    return _lag(decoded, source) / _RATE


def _low_passed(samples: NDArray[np.float32], rate: float) -> NDArray[np.float32]:
    width = max(1, round(rate / _RATE))
    return np.convolve(samples, np.full(width, 1 / width, np.float32), mode="same").astype(np.float32)


def _lag(decoded: NDArray[np.float32], source: NDArray[np.float32]) -> float:
    """Return the shift in samples that correlates best, infinite if none correlates."""
    length = 1 << (len(decoded) + len(source) - 1).bit_length()
    product = np.fft.rfft(decoded, length) * np.conj(np.fft.rfft(source, length))
    correlation = np.fft.irfft(product, length)
    best = int(np.argmax(correlation))
    energy = float(np.sqrt((decoded**2).sum() * (source**2).sum()))
    if correlation[best] < 0.5 * energy:
        return float("inf")
    return float(min(best, length - best))
