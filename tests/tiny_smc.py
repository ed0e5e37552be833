"""Tiny .smc files of the real format, with faults by argument."""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

H5 = Any
"""An h5py object; h5py has no types."""
HEIGHT, WIDTH = 64, 48


def jpeg(tag: str, filler: int = 300) -> bytes:
    """Return bytes with the framing of a JPEG (SOI, comment, SOF0, scan, EOI), different for each tag."""
    comment = tag.encode()
    seed = zlib.crc32(comment)
    scan = np.random.default_rng(seed).integers(0, 255, filler, np.uint8).tobytes()
    return b"".join(
        (
            b"\xff\xd8\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment,
            b"\xff\xc0\x00\x0b\x08" + struct.pack(">HH", HEIGHT, WIDTH) + b"\x01\x01\x11\x00",
            b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + scan + b"\xff\xd9",
        )
    )


def png(tag: str) -> bytes:
    """Return a valid 8-bit grey PNG, different for each tag."""
    rows = b"".join(b"\0" + bytes(WIDTH) for _ in range(HEIGHT))
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 0, 0, 0, 0)),
        (b"tEXt", b"tag\0" + tag.encode()),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    body = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


def end_without_closing(path: Path, *, swmr: bool = False) -> None:
    """Have a process open a file of `libver` "latest" to write to it, and die: HDF5's consistency flags stay set."""
    writer = os.fork()
    if writer == 0:
        try:
            file = h5py.File(path, "r+", libver="latest")
            if swmr:
                file.swmr_mode = True
            file.flush()
        finally:
            os._exit(0)
    os.waitpid(writer, 0)


def broken(data: bytes, how: str) -> bytes:
    """Return a blob with one kind of damage."""
    return {
        "no_end": data[:-20],
        "zeros_tail": data + b"\0" * 500,
        "zeros": b"\0" * len(data),
        "garbage": b"\x13\x37" * (len(data) // 2),
        "header_only": data[:6],
        "bad_crc": data[:-18] + bytes([data[-18] ^ 1]) + data[-17:],
        "webp": b"RIFF\x10\0\0\0WEBPVP8 " + data,
        "empty": b"",
    }[how]


@dataclass
class Tiny:
    """The content of a file; a key of `blobs_broken` is (group, camera, frame), e.g. ("color", "25", 3)."""

    actor: Any = "0018"
    part: Any = "s1_all"
    cameras: tuple[str, ...] = ("00", "25", "31")
    frames: int = 4
    holes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    blobs_broken: dict[tuple[str, str, int], str] = field(default_factory=dict)
    images: bool = True
    masks: bool = False
    audio: bool = True
    audio_dtype: str = "float32"
    rate: int = 48_000
    seconds: float | None = None
    calibration: bool = True
    anno: bool = False
    bytes_attributes: bool = False
    layout: str = "contiguous"
    column: bool = False
    userblock: int = 0
    filler: int = 300
    libver: str | None = None

    def write(self, path: Path) -> Path:
        """Write the file and return its path."""
        with h5py.File(path, "w", userblock_size=self.userblock, libver=self.libver) as file:
            self._attributes(file)
            for camera in self.cameras:
                self._camera(file, camera)
            if self.audio:
                self._audio(file)
            if self.calibration:
                self._calibration(file)
            if self.anno:
                self._annotations(file)
        return path

    def image(self, camera: str, frame: int) -> bytes:
        """Return the stored bytes of one image."""
        return self._damaged("color", camera, frame, jpeg(f"color {camera} {frame}", self.filler))

    def mask(self, camera: str, frame: int) -> bytes:
        """Return the stored bytes of one mask."""
        return self._damaged("mask", camera, frame, png(f"mask {camera} {frame}"))

    def frames_of(self, camera: str) -> list[int]:
        """Return the frames that a camera has."""
        return [frame for frame in range(self.frames) if frame not in self.holes.get(camera, ())]

    def sound(self) -> NDArray[Any]:
        """Return the stored sound, (samples, 2) of `audio_dtype`: two different channels."""
        seconds = self.frames / 30 if self.seconds is None else self.seconds
        times = np.arange(round(seconds * self.rate)) / self.rate
        wave = np.stack([np.sin(2000 * times), np.cos(3000 * times)], axis=1) * 0.7
        scale = 1 if self.audio_dtype.startswith("float") else 30_000
        return (wave * scale).astype(self.audio_dtype)

    def _damaged(self, group: str, camera: str, frame: int, data: bytes) -> bytes:
        how = self.blobs_broken.get((group, camera, frame))
        return broken(data, how) if how else data

    def _attributes(self, file: H5) -> None:
        values = {
            "actor_id": self.actor,
            "performance_part": self.part,
            "capture_date": "2022-08-20",
            "age": np.int64(31),
            "color": "yellow",
            "gender": "female",
            "height": np.float64(1.66),
            "weight": np.float64(52.0),
        }
        for key, value in values.items():
            is_text = isinstance(value, str) and self.bytes_attributes
            file.attrs[key] = np.bytes_(value.encode()) if is_text else value
        group = file.create_group("Camera")
        group.attrs["num_device"] = 60
        group.attrs["num_frame"] = 999
        group.attrs["resolution"] = np.array([2048, 2448])

    def _camera(self, file: H5, camera: str) -> None:
        group = file.require_group(f"Camera/{camera}")
        if camera == "00":
            return
        for frame in self.frames_of(camera):
            if self.images:
                self._blob(group.require_group("color"), str(frame), self.image(camera, frame))
            if self.masks:
                self._blob(group.require_group("mask"), str(frame), self.mask(camera, frame))

    def _blob(self, group: H5, name: str, data: bytes) -> None:
        values: NDArray[np.uint8] = np.frombuffer(data, np.uint8)
        if self.column:
            values = values.reshape(-1, 1)
        if self.layout == "contiguous" or not data:
            group.create_dataset(name, data=values)
        elif self.layout == "compact":
            properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            properties.set_layout(h5py.h5d.COMPACT)
            space = h5py.h5s.create_simple(values.shape)
            dataset = h5py.h5d.create(group.id, name.encode(), h5py.h5t.NATIVE_UINT8, space, properties)
            dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.ascontiguousarray(values))
        else:
            group.create_dataset(name, data=values, chunks=True, compression="gzip" if self.layout == "gzip" else None)

    def _audio(self, file: H5) -> None:
        group = file.require_group("Camera/00/audio")
        group["audio"] = self.sound()
        group["sample_rate"] = self.rate

    def _calibration(self, file: H5) -> None:
        for number, camera in enumerate(("00", "01", "25", "31")):
            group = file.create_group(f"Calibration/{camera}")
            group["K"] = np.array([[4700.0 + number, 0, 1224], [0, 4700, 1024], [0, 0, 1]])
            group["D"] = np.zeros(5)
            group["RT"] = np.eye(4) * (number + 1)

    def _annotations(self, file: H5) -> None:
        seed = np.random.default_rng(7)
        for camera in ("25", "31"):
            group = file.create_group(f"Keypoints2d/{camera}")
            for frame in range(0, self.frames, 2):
                group[str(frame)] = seed.random((106, 2))
            self._blob(file.require_group("ScanMask"), camera, png(f"scan {camera}"))
        for frame in range(self.frames):
            file[f"Keypoints3d/{frame}"] = seed.random((73, 3))
            file[f"FLAME/{frame}/shape"] = seed.random(100)
            file[f"FLAME/{frame}/trans"] = seed.random(3).astype(np.float32)
            file[f"FLAME/{frame}/verts"] = seed.random((50, 3))
            self._blob(file.require_group("UV_texture"), str(frame), png(f"uv {frame}"))
        file["Scan/vertex"] = seed.random((20, 3)).astype(np.float32)
        file["Scan/vertex_indices"] = seed.integers(0, 20, (30, 3))
