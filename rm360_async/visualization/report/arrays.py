"""The arrays of a published folder that pages draw: landmarks and sound. A file that cannot be read gives a note."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from rm360_async.domain.cameras.rig import Array
from rm360_async.domain.names import camera_folder, is_camera

Landmarks = dict[int, Array]
"""Points (P, 2) px or (P, 3) m by frame."""
MAX_SAMPLE_RATE = 1e9
_READ_ERRORS = (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, BadZipFile)


@dataclass(frozen=True)
class Sound:
    """Samples (n,), the mean of all channels, and their rate per second."""

    samples: NDArray[np.float32]
    rate: float

    @property
    def seconds(self) -> float:
        """Return the duration."""
        return len(self.samples) / self.rate


def read_landmarks2d(folder: Path, notes: list[str]) -> dict[str, Landmarks]:
    """Return the 2D landmarks of every camera that has a file of them; add a note for each unreadable file."""
    by_camera = {}
    for path in sorted((folder / "keypoints2d").glob(f"{camera_folder('')}*.npz")):
        camera = path.stem.removeprefix(camera_folder(""))
        landmarks = _read_landmarks(path, 2, notes) if is_camera(camera) else {}
        if landmarks:
            by_camera[camera] = landmarks
    return by_camera


def read_landmarks3d(folder: Path, notes: list[str]) -> Landmarks:
    """Return the 3D landmarks by frame; add a note if the file is unreadable."""
    path = folder / "keypoints3d" / "all_frames.npz"
    return _read_landmarks(path, 3, notes) if path.exists() else {}


def _read_landmarks(path: Path, dimensions: int, notes: list[str]) -> Landmarks:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            frames, points = stored["frames"], np.asarray(stored["keypoints"], np.float64)
        if frames.ndim != 1 or points.ndim != 3 or points.shape[::2] != (len(frames), dimensions) or not points.size:
            raise ValueError("its arrays have other shapes")
        return {int(frame): of_frame for frame, of_frame in zip(frames, points, strict=True)}
    except _READ_ERRORS as error:
        notes.append(f"{path.parent.name}/{path.name} cannot be read: {error}")
        return {}


def read_sound(folder: Path, notes: list[str]) -> Sound | None:
    """Return the sound; None if there is none, or if the file is unreadable, with a note."""
    path = folder / "audio" / "audio_data.npz"
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            audio, rate = stored["audio"], float(np.asarray(stored["sample_rate"]).reshape(-1)[0])
        if not 0 < rate < MAX_SAMPLE_RATE:
            raise ValueError(f"a sample rate of {rate:g}")
        return Sound(_mono(audio), rate)
    except _READ_ERRORS as error:
        notes.append(f"audio/audio_data.npz cannot be read: {error}")
        return None


def _mono(audio: NDArray[Any]) -> NDArray[np.float32]:
    samples = np.asarray(audio, np.float32)
    samples = samples if samples.ndim < 2 else samples.reshape(len(samples), -1).mean(axis=1)
    return np.nan_to_num(samples.reshape(-1))
