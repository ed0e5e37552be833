"""Speech-like audio: a voice of harmonics in syllables, on two channels that differ."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 48000


def synthesize_speech(seconds: float, seed: int = 0) -> NDArray[np.float32]:
    """Return samples (n, 2), float32 in [-1, 1), n = seconds at 48000 Hz."""
    count = round(seconds * SAMPLE_RATE)
    random = np.random.default_rng(seed)
    time = np.arange(count) / SAMPLE_RATE
    knots = np.arange(0.0, seconds + 0.4, 0.2)
    pitch = np.interp(time, knots, random.uniform(95.0, 180.0, knots.size))
    loudness = np.interp(time, knots, random.uniform(0.1, 1.0, knots.size)) * np.sin(np.pi * time / 0.2) ** 2
    phase = 2.0 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    voice = sum((np.sin(order * phase) / order for order in range(1, 6)), np.zeros(count))
    channels = [0.25 * loudness * voice + random.normal(0.0, 0.002, count) for _ in range(2)]
    return np.asarray(np.clip(np.stack(channels, axis=1), -1.0, 0.999), np.float32)
