"""Stored arrays: audio, calibration, and any other bounded numeric array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from rm360_async.domain.names import is_camera
from rm360_async.smc.errors import H5, UnreadableData, hdf5_errors, quoted_name, require_in_file
from rm360_async.smc.file import SmcFile

MAX_AUDIO_BYTES = 2**28
"""11 minutes of two float32 channels at 48 kHz; a performance has one or two. The WAV and the MP3 take several times
as much memory."""
MAX_MATRIX_BYTES = 4096
_MAX_DIMENSIONS = 8
"""The release has up to three; numpy cannot stack arrays of 32."""
_MAX_SAMPLE_RATE_HZ = 1_000_000


@dataclass(frozen=True)
class ArrayShape:
    """Shape and type of a stored array, known before any of it is read."""

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
    """The camera that has the sound, and its length: `samples` per channel, `rate` in Hz."""

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


def read_array_shape(dataset: H5, max_bytes: int) -> ArrayShape:
    """Return the shape of a numeric dataset of at most `max_bytes` bytes; UnreadableData otherwise."""
    require_in_file(dataset)
    with hdf5_errors("its entry"):
        array = ArrayShape(tuple(dataset.shape or ()), np.dtype(dataset.dtype))
        is_empty = dataset.shape is None
        was_written = dataset.get_storage_size() > 0
    if is_empty:
        raise UnreadableData("is empty")
    if array.dtype.kind not in "iufb":
        raise UnreadableData("holds no numbers")
    if array.dtype.itemsize > 8:
        raise UnreadableData(
            f"holds numbers of {array.dtype.itemsize} bytes, whose format differs from machine to machine"
        )
    if array.bytes > max_bytes or len(array.shape) > _MAX_DIMENSIONS or max(array.shape, default=0) > max_bytes:
        raise UnreadableData(f"claims {array.bytes} bytes (shape {array.shape}), more than is possible")
    if array.bytes and not was_written:
        raise UnreadableData("was never written")
    return array


def read_dataset(dataset: H5, max_bytes: int) -> NDArray[Any]:
    """Return a numeric dataset as stored; UnreadableData if it is not numeric or larger than `max_bytes` bytes."""
    shape = read_array_shape(dataset, max_bytes)
    values = np.empty(shape.shape, shape.dtype)  # outside of the block: running out of memory is no damage
    if values.size:
        with hdf5_errors("its data"):
            dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
    return values


def read_array(file: SmcFile, parts: tuple[str, ...], max_bytes: int) -> NDArray[Any] | None:
    """Return the numeric array at a path, None if it is absent; UnreadableData as `read_dataset`."""
    dataset = file.dataset(*parts)
    return None if dataset is None else read_dataset(dataset, max_bytes)


def read_audio_shape(file: SmcFile) -> AudioShape | None:
    """Return the length of the sound without reading it; None without sound, UnreadableData if it is unusable."""
    for camera in file.cameras.with_part("audio"):
        dataset = file.dataset("Camera", camera, "audio", "audio")
        if dataset is not None:
            shape = read_array_shape(dataset, MAX_AUDIO_BYTES).shape
            if not 1 <= len(shape) <= 2 or 0 in shape:
                raise UnreadableData(f"has shape {shape}, which is not that of a sound")
            return AudioShape(camera, max(shape), _read_sample_rate(file, camera))
    return None


def read_audio(file: SmcFile) -> Audio | None:
    """Return the sound as stored; None without sound, UnreadableData if it is unusable."""
    shape = read_audio_shape(file)
    samples = read_array(file, ("Camera", shape.camera, "audio", "audio"), MAX_AUDIO_BYTES) if shape else None
    return None if shape is None or samples is None else Audio(samples, shape.rate)


def _read_sample_rate(file: SmcFile, camera: str) -> int:
    value = read_array(file, ("Camera", camera, "audio", "sample_rate"), MAX_MATRIX_BYTES)
    rate = float(value.reshape(-1)[0]) if value is not None and value.size == 1 else 0.0
    if not 1 <= rate <= _MAX_SAMPLE_RATE_HZ or rate != int(rate):
        raise UnreadableData("has no usable sample rate")
    return int(rate)


def read_calibration(file: SmcFile) -> tuple[dict[str, Calibration], dict[str, str]]:
    """Return the calibration of each camera, in order, and the reason for each that cannot be read."""
    calibrations: dict[str, Calibration] = {}
    unreadable: dict[str, str] = {}
    for name in sorted(entry.name for entry in file.list_entries("Calibration")):
        try:
            if not is_camera(name):
                raise UnreadableData(f"entry {quoted_name(name)} is not a camera")
            calibrations[name] = Calibration(*(_read_matrix(file, name, part) for part in ("K", "D", "RT")))
        except UnreadableData as error:
            unreadable[name if is_camera(name) else ""] = error.reason
    return calibrations, unreadable


def _read_matrix(file: SmcFile, camera: str, part: str) -> NDArray[Any]:
    try:
        values = read_array(file, ("Calibration", camera, part), MAX_MATRIX_BYTES)
    except UnreadableData as error:
        raise UnreadableData(f"{part} {error.reason}") from error
    if values is None:
        raise UnreadableData(f"has no {part}")
    if part != "D" and values.shape != {"K": (3, 3), "RT": (4, 4)}[part]:
        raise UnreadableData(f"{part} has shape {values.shape}")
    return values
