"""Write one synthetic .smc, or a raw and anno pair, in the release's HDF5 layout.

h5py's default file format and contiguous datasets unless the spec says otherwise, as in the real files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from rm360_async.domain.names import Modality
from rm360_async.synthetic import ground_truth
from rm360_async.synthetic.appearance import appearance_of
from rm360_async.synthetic.encoded import add_label, break_blob
from rm360_async.synthetic.head import image_size
from rm360_async.synthetic.renderer import Renderer
from rm360_async.synthetic.sound import SAMPLE_RATE, synthesize_speech
from rm360_async.synthetic.spec import AUDIO_CAMERA, SmcSpec


def write_smc(path: Path, spec: SmcSpec, renderer: Renderer | None = None) -> Path:
    """Write everything in the spec to one file and return its path.

    A renderer of the same scale can be passed to reuse what it has drawn.
    """
    return _write(path, spec, spec.modalities, renderer)


def write_pair(raw: Path, anno: Path, spec: SmcSpec, renderer: Renderer | None = None) -> tuple[Path, Path]:
    """Write images and audio to one file and the rest to another, and return their paths."""
    renderer = renderer or Renderer(spec.scale)
    return _write(raw, spec, spec.raw_modalities, renderer), _write(anno, spec, spec.anno_modalities, renderer)


def label_text(spec: SmcSpec, camera: str, what: str, frame: int | None = None) -> str:
    """Return the label of a stored image, e.g. `0018/s1_all 25 color 3 seed 0`; every image has its own."""
    return f"{spec.performance} {camera} {what} {'-' if frame is None else frame} seed {spec.seed}"


def _write(path: Path, spec: SmcSpec, modalities: frozenset[Modality], renderer: Renderer | None) -> Path:
    if renderer is not None and renderer.scale != spec.scale:
        raise ValueError(f"a renderer of scale {renderer.scale} cannot draw for a spec of scale {spec.scale}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        _Writer(file, spec, modalities, renderer or Renderer(spec.scale)).write()
    return path


class _Writer:
    """Writes the groups of one open file."""

    def __init__(self, file: Any, spec: SmcSpec, modalities: frozenset[Modality], renderer: Renderer) -> None:
        self.file, self.spec, self.renderer = file, spec, renderer
        self.modalities = modalities
        self.appearance = appearance_of(spec.performance, spec.seed)

    def write(self) -> None:
        """Write the modalities in the order of the release's files."""
        self._attributes()
        self._images()
        writers = {
            Modality.AUDIO: self._audio,
            Modality.CALIBRATION: self._calibration,
            Modality.KEYPOINTS2D: self._keypoints2d,
            Modality.KEYPOINTS3D: self._keypoints3d,
            Modality.FLAME: self._flame,
            Modality.UV_TEXTURES: self._uv_textures,
            Modality.SCAN: self._scan,
            Modality.SCAN_MASKS: self._scan_masks,
        }
        for modality, write in writers.items():
            if modality in self.modalities:
                write()
        self._remove_omitted()

    def _attributes(self) -> None:
        if Modality.METADATA not in self.modalities:
            return
        performance = self.spec.performance
        texts = {"actor_id": performance.subject, "performance_part": performance.name, "capture_date": "2022-08-20"}
        texts |= {"color": "yellow", "gender": "male" if int(performance.subject) % 2 else "female"}
        encoded = {key: np.bytes_(text) if self.spec.bytes_attributes else text for key, text in texts.items()}
        self.file.attrs.update({**encoded, "age": 27, "height": 170, "weight": 62})

    def _images(self) -> None:
        frames = self.spec.frames if self.spec.reported_frames is None else self.spec.reported_frames
        group = self.file.create_group("Camera")
        group.attrs.update({"num_device": self.spec.reported_cameras, "num_frame": frames})
        group.attrs["resolution"] = np.array(image_size(self.spec.scale))
        wanted = {Modality.IMAGES: "color", Modality.MASKS: "mask"}
        kinds = [name for modality, name in wanted.items() if modality in self.modalities]
        for camera, kind, frame in self._frames_in_order(kinds):
            self._blob(f"Camera/{camera}/{kind}/{frame}", self._encoded_image(camera, kind, frame))

    def _frames_in_order(self, kinds: list[str]) -> Iterator[tuple[str, str, int]]:
        """Yield camera, kind and frame camera by camera, or frame by frame."""
        cameras = self.spec.cameras
        if self.spec.order == "camera":
            yield from ((c, kind, f) for c in cameras for kind in kinds for f in self.spec.frames_of(c))
            return
        frames = {camera: set(self.spec.frames_of(camera)) for camera in cameras}
        every_frame = sorted(set().union(*frames.values()))
        yield from ((c, kind, f) for f in every_frame for c in cameras if f in frames[c] for kind in kinds)

    def _encoded_image(self, camera: str, kind: str, frame: int) -> bytes:
        """Return the encoded bytes of one frame, distinct from all others, broken if the spec says so."""
        images, mask = self.renderer.encode_frames(
            self.appearance, camera, self.spec.openings, self.spec.distortion_of(camera)
        )
        blob = add_label(
            images[self.spec.opening(frame)] if kind == "color" else mask, label_text(self.spec, camera, kind, frame)
        )
        defect = (self.spec.broken if kind == "color" else self.spec.broken_masks).get((camera, frame))
        return break_blob(blob, defect, frame) if defect else blob

    def _blob(self, name: str, blob: bytes) -> None:
        """Write one encoded image in the storage of the spec."""
        data = np.frombuffer(blob, np.uint8)
        data = data[:, None] if self.spec.column_blobs else data
        if self.spec.storage == "compact":
            _write_compact(self.file, name, data)
        elif self.spec.storage == "contiguous" or not data.size:
            self.file.create_dataset(name, data=data)
        else:
            chunks = (min(4096, len(data)), *data.shape[1:])
            compression = "gzip" if self.spec.storage == "gzip" else None
            self.file.create_dataset(name, data=data, chunks=chunks, compression=compression)

    def _audio(self) -> None:
        group = self.file.require_group(f"Camera/{AUDIO_CAMERA}/audio")
        group["audio"] = synthesize_speech(self.spec.frames / self.spec.fps, self.spec.seed)
        group["sample_rate"] = SAMPLE_RATE

    def _calibration(self) -> None:
        for camera, arrays in ground_truth.calibration(self.spec).items():
            for key, array in arrays.items():
                self.file[f"Calibration/{camera}/{key}"] = array

    def _keypoints2d(self) -> None:
        self.file.create_group("Keypoints2d").attrs["num_frame"] = self.spec.frames
        for camera in ground_truth.keypoint_cameras(self.spec):
            for frame, points in ground_truth.keypoints2d(self.spec, camera).items():
                self.file[f"Keypoints2d/{camera}/{frame}"] = points

    def _keypoints3d(self) -> None:
        self.file.create_group("Keypoints3d").attrs["num_frame"] = self.spec.frames
        for frame, points in ground_truth.keypoints3d(self.spec).items():
            self.file[f"Keypoints3d/{frame}"] = points

    def _flame(self) -> None:
        for frame in range(self.spec.frames):
            for key, array in ground_truth.flame(self.spec, frame).items():
                self.file[f"FLAME/{frame}/{key}"] = array

    def _uv_textures(self) -> None:
        for frame in range(self.spec.frames):
            texture = ground_truth.uv_texture(self.spec, frame)
            self._blob(f"UV_texture/{frame}", add_label(texture, label_text(self.spec, "--", "uv", frame)))

    def _scan(self) -> None:
        self.file["Scan/vertex"], self.file["Scan/vertex_indices"] = ground_truth.scan()

    def _scan_masks(self) -> None:
        for camera in self.spec.cameras:
            mask = self.renderer.encode_frames(self.appearance, camera, [], self.spec.distortion_of(camera))[1]
            self._blob(f"ScanMask/{camera}", add_label(mask, label_text(self.spec, camera, "scan_mask")))

    def _remove_omitted(self) -> None:
        """Remove the objects and attributes that the spec omits and this file has."""
        for name in self.spec.omit:
            path, _, attribute = name.partition("@")
            node = self.file.get(path or "/")
            if attribute and node is not None:
                node.attrs.pop(attribute, None)
            elif node is not None:
                del self.file[path]


def _write_compact(file: Any, name: str, data: NDArray[np.uint8]) -> None:
    """Write a dataset with compact storage: its bytes lie in its object header."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.COMPACT)
    group = file.require_group(name.rpartition("/")[0])
    space = h5py.h5s.create_simple(data.shape)
    leaf = name.rpartition("/")[2].encode()
    h5py.h5d.create(group.id, leaf, h5py.h5t.STD_U8LE, space, properties).write(
        space, space, np.ascontiguousarray(data)
    )
