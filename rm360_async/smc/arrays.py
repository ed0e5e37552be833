"""Stored arrays: audio, calibration, and any other bounded numeric array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from rm360_async.domain.names import is_camera
from rm360_async.smc.errors import H5, UnreadableData, asking_hdf5, require_here, shown
from rm360_async.smc.file import SmcFile

LARGEST_AUDIO = 2**28
"""Bytes; 11 minutes of two float32 channels at 48 kHz, where a performance has one or two. The WAV and the MP3
take several times as much memory."""
LARGEST_MATRIX = 4096
_MOST_SIDES = 8
"""The release has up to three; numpy has no arrays of 32 to stack."""
_HIGHEST_RATE = 1_000_000


@dataclass(frozen=True)
class ArrayShape:
    """Shape and type of a stored array, before any of it is read."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def bytes(self) -> int:
        """Return the size in memory."""
        size = self.dtype.itemsize
        for side in self.shape:
            size *= side
        return size


@dataclass(frozen=True)
class AudioShape:
    """Where the sound is and how long it is; `rate` in Hz, `samples` per channel."""

    camera: str
    samples: int
    rate: int

    @property
    def seconds(self) -> float:
        """Return the length in seconds."""
        return self.samples / self.rate


@dataclass(frozen=True)
class Audio:
    """The sound as stored, (n,), (n, channels) or (channels, n), and its rate in Hz."""

    samples: NDArray[Any]
    rate: int


@dataclass(frozen=True)
class Calibration:
    """One camera: K (3, 3) px, D (5,) k1 k2 p1 p2 k3, RT (4, 4) camera-to-world, metres; all as stored."""

    K: NDArray[Any]
    D: NDArray[Any]
    RT: NDArray[Any]


def array_shape(dataset: H5, largest: int) -> ArrayShape:
    """Return the shape of a numeric dataset of at most `largest` bytes; UnreadableData otherwise."""
    require_here(dataset)
    with asking_hdf5("its entry"):
        found = ArrayShape(tuple(dataset.shape or ()), np.dtype(dataset.dtype))
        empty = dataset.shape is None
        written = dataset.get_storage_size() > 0
    if empty:
        raise UnreadableData("is empty")
    if found.dtype.kind not in "iufb":
        raise UnreadableData("holds no numbers")
    if found.dtype.itemsize > 8:
        raise UnreadableData(f"holds numbers of {found.dtype.itemsize} bytes, which differ from machine to machine")
    if found.bytes > largest or len(found.shape) > _MOST_SIDES or max(found.shape, default=0) > largest:
        raise UnreadableData(f"claims {found.bytes} bytes (shape {found.shape}), more than is possible")
    if found.bytes and not written:
        raise UnreadableData("was never written")
    return found


def read_dataset(dataset: H5, largest: int) -> NDArray[Any]:
    """Return a numeric dataset as stored; UnreadableData when it is not numeric or larger than `largest` bytes."""
    shape = array_shape(dataset, largest)
    values = np.empty(shape.shape, shape.dtype)  # outside of the block: running out of memory here is no damage
    if values.size:
        with asking_hdf5("its data"):
            dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
    return values


def read_array(file: SmcFile, parts: tuple[str, ...], largest: int) -> NDArray[Any] | None:
    """Return the numeric array at a path, None when absent; UnreadableData as `read_dataset`."""
    dataset = file.dataset(*parts)
    return None if dataset is None else read_dataset(dataset, largest)


def audio_shape(file: SmcFile) -> AudioShape | None:
    """Return how long the sound is without reading it; None when there is none, UnreadableData when it is unusable."""
    for camera in file.cameras.having("audio"):
        dataset = file.dataset("Camera", camera, "audio", "audio")
        if dataset is not None:
            shape = array_shape(dataset, LARGEST_AUDIO).shape
            if not 1 <= len(shape) <= 2 or 0 in shape:
                raise UnreadableData(f"has shape {shape}, not that of a sound")
            return AudioShape(camera, max(shape), _sample_rate(file, camera))
    return None


def read_audio(file: SmcFile) -> Audio | None:
    """Return the sound as stored; None when there is none, UnreadableData when it is unusable."""
    shape = audio_shape(file)
    samples = read_array(file, ("Camera", shape.camera, "audio", "audio"), LARGEST_AUDIO) if shape else None
    return None if shape is None or samples is None else Audio(samples, shape.rate)


def _sample_rate(file: SmcFile, camera: str) -> int:
    value = read_array(file, ("Camera", camera, "audio", "sample_rate"), LARGEST_MATRIX)
    rate = float(value.reshape(-1)[0]) if value is not None and value.size == 1 else 0.0
    if not 1 <= rate <= _HIGHEST_RATE or rate != int(rate):
        raise UnreadableData("has no usable sample rate")
    return int(rate)


def read_calibration(file: SmcFile) -> tuple[dict[str, Calibration], dict[str, str]]:
    """Return the calibration of each camera, in order, and the reason for each that cannot be read."""
    found: dict[str, Calibration] = {}
    refused: dict[str, str] = {}
    for name in sorted(entry.name for entry in file.entries("Calibration")):
        try:
            if not is_camera(name):
                raise UnreadableData(f"entry {shown(name)} is not a camera")
            found[name] = Calibration(*(_matrix(file, name, part) for part in ("K", "D", "RT")))
        except UnreadableData as refusal:
            refused[name if is_camera(name) else ""] = refusal.reason
    return found, refused


def _matrix(file: SmcFile, camera: str, part: str) -> NDArray[Any]:
    try:
        values = read_array(file, ("Calibration", camera, part), LARGEST_MATRIX)
    except UnreadableData as refusal:
        raise UnreadableData(f"{part} {refusal.reason}") from refusal
    if values is None:
        raise UnreadableData(f"has no {part}")
    if part != "D" and values.shape != {"K": (3, 3), "RT": (4, 4)}[part]:
        raise UnreadableData(f"{part} has shape {values.shape}")
    return values
