"""The sound of a performance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rm360_async.dataset.errors import DamagedData
from rm360_async.dataset.npz_rows import NpzRows

MAX_SAMPLE_RATE = 1e9
MAX_CHANNELS = 32


@dataclass(frozen=True, eq=False)
class AudioTrack:
    """The sound as stored: `samples` (n, channels), float32 in [-1, 1) in every known file, `rate` in Hz.

    Sample 0 sounds when frame 0 begins; the sound is longer than the pictures by 33 ms on average.
    """

    samples: NDArray[Any]
    rate: float

    @property
    def seconds(self) -> float:
        """Return the duration."""
        return len(self.samples) / self.rate

    @property
    def mono(self) -> NDArray[np.float32]:
        """Return the mean of all channels (n,); what is not finite is 0."""
        return np.nan_to_num(np.asarray(np.asarray(self.samples, np.float32).mean(axis=1), np.float32))


def read_audio_track(path: Path) -> AudioTrack:
    """Return the sound in audio_data.npz; raise DamagedData if it cannot be read."""
    stored = NpzRows(path)
    if not {"audio", "sample_rate"} <= set(stored.names):
        raise DamagedData(f"{path} cannot be read: it has no audio with a sample rate")
    samples, rate = stored.array("audio"), float(np.asarray(stored.array("sample_rate")).reshape(-1)[0])
    if not 0 < rate < MAX_SAMPLE_RATE:
        raise DamagedData(f"{path} cannot be read: a sample rate of {rate:g}")
    table = samples.reshape(-1, 1) if samples.ndim < 2 else samples.reshape(len(samples), -1)
    if table.shape[1] > table.shape[0]:  # (channels, n)
        table = table.T
    if table.shape[1] > MAX_CHANNELS:
        raise DamagedData(f"{path} cannot be read: it has shape {samples.shape}, not that of audio")
    return AudioTrack(table, rate)
