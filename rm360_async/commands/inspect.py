"""`rm360 inspect`: the contents of an .smc file, read without extracting it.

The counts come from the keys of the file. What the file reports of itself is often wrong, so it is listed apart.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from rm360_async.domain.release import frame_rate
from rm360_async.smc import Blob, SmcFile, UnreadableData, check_picture, read_audio_shape
from rm360_async.system.sparse_file import MissingBytes, SparseFile

_MAX_REMARKS = 40
"""Unreadable entries that are listed for each camera and modality."""
_MAX_MISSING_FRAMES = 10_000
_CAMERA_PARTS = (("color", "images"), ("mask", "masks"))
_GROUPS = {
    "Calibration": "calibration",
    "Keypoints2d": "keypoints2d",
    "Keypoints3d": "keypoints3d",
    "FLAME": "flame",
    "UV_texture": "uv_textures",
    "Scan": "scan",
    "ScanMask": "scan_masks",
}


@dataclass
class SmcInventory:
    """The contents of one file; sizes in bytes. The names of the fields are the keys of `inspect --json`.

    `reported` are the attributes of the group Camera, `modalities` the number of entries of each, `codecs` the
    formats of some sampled images, e.g. `jpg 2448x2048`, with how often each was met.
    """

    path: str
    bytes: int
    attributes: dict[str, Any]
    reported: dict[str, Any]
    cameras: dict[str, dict[str, Any]] = field(default_factory=dict)
    modalities: dict[str, int] = field(default_factory=dict)
    codecs: dict[str, dict[str, int]] = field(default_factory=dict)
    audio: dict[str, Any] | None = None
    fps: float | None = None
    other_groups: list[str] = field(default_factory=list)
    """Entries of the root which no file of RenderMe-360 has."""
    remarks: list[str] = field(default_factory=list)

    @property
    def cameras_with_images(self) -> list[str]:
        """Return the cameras that have images."""
        return [camera for camera, contents in self.cameras.items() if "images" in contents]

    @property
    def is_foreign(self) -> bool:
        """Return True if the file holds nothing that a file of RenderMe-360 has."""
        return not (self.cameras or self.modalities)

    def to_json(self) -> str:
        """Return the inventory as one JSON object."""
        return json.dumps(asdict(self), indent=1)


def inspect(path: Path | SparseFile, name: str = "") -> SmcInventory:
    """Return the contents of a file, whose path is shown as `name`; raise Fault(UNREADABLE) if it cannot be opened."""
    with SmcFile(path) as file:
        attributes, remarks = file.read_attributes()
        reported, more_remarks = file.read_attributes("Camera")
        inventory = SmcInventory(
            name or str(path), file.size, attributes, reported, remarks=[*file.notes, *remarks, *more_remarks]
        )
        _add_cameras(file, inventory)
        _add_groups(file, inventory)
        _add_audio(file, inventory)
        _add_other_groups(file, inventory)
        return inventory


def _add_cameras(file: SmcFile, inventory: SmcInventory) -> None:
    try:
        cameras = file.cameras
    except UnreadableData as error:
        inventory.remarks.append(error.reason)
        return
    for camera, parts in sorted(cameras.parts.items()):
        inventory.cameras[camera] = {"holds": sorted(parts)}
        for part, modality in _CAMERA_PARTS:
            if part in parts:
                _add_frames(file, inventory, camera, part, modality)
    inventory.remarks += [f"camera {camera}: {reason}" for camera, reason in sorted(cameras.unreadable.items())]
    inventory.remarks += cameras.unexpected


def _add_frames(file: SmcFile, inventory: SmcInventory, camera: str, part: str, modality: str) -> None:
    where = f"camera {camera} {modality}"
    try:
        listed = file.frames("Camera", camera, part)
    except UnreadableData as error:
        inventory.remarks.append(f"{where}: {error.reason}")
        return
    frames, missing = listed.frames, _missing_frames(listed.frames)
    last = frames[-1] if frames else None
    inventory.cameras[camera][modality] = {"frames": len(frames), "last": last, "holes": missing}
    inventory.modalities[modality] = inventory.modalities.get(modality, 0) + len(frames)
    inventory.remarks += [f"{where}: {reason}" for _, reason in listed.unreadable[:_MAX_REMARKS]]
    if len(listed.unreadable) > _MAX_REMARKS:
        inventory.remarks.append(f"{where}: {len(listed.unreadable)} unreadable entries in all")
    if frames and len(missing) < frames[-1] + 1 - frames[0] - len(frames):
        inventory.remarks.append(f"{where}: missing frames are listed only up to frame {missing[-1]}")
    codecs = Counter(inventory.codecs.get(modality, {}))
    for frame in _sampled(frames):
        codecs[_codec(file, camera, part, listed.stored_name(frame))] += 1
    inventory.codecs[modality] = dict(codecs)


def _missing_frames(frames: Sequence[int]) -> list[int]:
    """Return the numbers missing between the frames, at most the first `_MAX_MISSING_FRAMES`."""
    missing: list[int] = []
    for before, after in pairwise(frames):
        missing += range(before + 1, min(after, before + 1 + _MAX_MISSING_FRAMES - len(missing)))
    return missing


def _sampled(frames: Sequence[int]) -> list[int]:
    """Return the first, the middle and the last frame: to read all would be an extraction."""
    return sorted({frames[0], frames[len(frames) // 2], frames[-1]}) if frames else []


def _codec(file: SmcFile, camera: str, part: str, frame: str) -> str:
    try:
        blob: Blob | None = file.blob("Camera", camera, part, frame)
        image = check_picture(blob) if blob is not None else None
    except UnreadableData as error:
        return f"broken: {error.reason}"
    except MissingBytes:  # of a remote file: they are downloaded, and the file is inspected again
        return "not downloaded yet"
    if image is None:
        return "gone"
    size = f" {image.width}x{image.height}" if image.width else ""
    return f"{image.suffix.lstrip('.')}{size}"


def _add_groups(file: SmcFile, inventory: SmcInventory) -> None:
    for group, modality in _GROUPS.items():
        try:
            count = len(file.list_entries(group))
        except UnreadableData as error:
            inventory.remarks.append(error.reason)
            continue
        if count:
            inventory.modalities[modality] = count


def _add_other_groups(file: SmcFile, inventory: SmcInventory) -> None:
    try:
        names = [entry.name for entry in file.list_entries()]
    except UnreadableData as error:
        inventory.remarks.append(error.reason)
        return
    inventory.other_groups = sorted(name for name in names if name not in ("Camera", *_GROUPS))
    if inventory.is_foreign:
        groups = ", ".join(("Camera", *_GROUPS))
        inventory.remarks.append(
            f"this is not a RenderMe-360 file: it holds no camera, and none of {groups} has entries"
        )


def _add_audio(file: SmcFile, inventory: SmcInventory) -> None:
    try:
        audio = read_audio_shape(file)
    except UnreadableData as error:
        inventory.remarks.append(f"audio: {error.reason}")
        return
    if audio is None:
        return
    inventory.audio = {"camera": audio.camera, "seconds": round(audio.seconds, 3), "sample_rate": audio.rate}
    inventory.modalities["audio"] = 1
    cameras = inventory.cameras_with_images
    frames = set().union(*(file.frames("Camera", camera, "color").frames for camera in cameras))
    rate = frame_rate(max(frames, default=-1) + 1, audio.seconds)
    if rate is not None:
        inventory.fps = rate.fps
        inventory.remarks += [f"fps {rate.note}"] if rate.note else []
