"""What an .smc holds, without extracting it: `rm360 inspect`.

Believes the keys and not what the file reports of itself: the reported numbers stand beside the counted ones.
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
from rm360_async.smc import Blob, SmcFile, UnreadableData, audio_shape, check
from rm360_async.smc.errors import printable
from rm360_async.system.sparse_file import MissingBytes, SparseFile

_NAMED = 40
"""How many cameras or holes a line names."""
_LONGEST = 200
_MOST_HOLES = 10_000
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
    """What one file holds; sizes in bytes, resolution as `width x height`."""

    path: str
    bytes: int
    attributes: dict[str, Any]
    reported: dict[str, Any]
    cameras: dict[str, dict[str, Any]] = field(default_factory=dict)
    modalities: dict[str, int] = field(default_factory=dict)
    codecs: dict[str, dict[str, int]] = field(default_factory=dict)
    audio: dict[str, Any] | None = None
    fps: float | None = None
    remarks: list[str] = field(default_factory=list)

    def to_json(self) -> str:
        """Return the survey as one JSON object."""
        return json.dumps(asdict(self), indent=1)


def inspect(path: Path | SparseFile, name: str = "") -> SmcInventory:
    """Return what the file holds, under another name if one is given; Fault(UNREADABLE) if it cannot be opened."""
    with SmcFile(path) as file:
        attributes, remarks = file.attributes()
        reported, more = file.attributes("Camera")
        found = SmcInventory(name or str(path), file.size, attributes, reported, remarks=[*remarks, *more])
        _cameras(file, found)
        _groups(file, found)
        _sound(file, found)
        return found


def _cameras(file: SmcFile, found: SmcInventory) -> None:
    try:
        cameras = file.cameras
    except UnreadableData as refusal:
        found.remarks.append(refusal.reason)
        return
    for camera, parts in sorted(cameras.parts.items()):
        found.cameras[camera] = {"holds": sorted(parts)}
        for part, name in (("color", "images"), ("mask", "masks")):
            if part in parts:
                _frames(file, found, camera, part, name)
    found.remarks += [f"camera {camera}: {reason}" for camera, reason in sorted(cameras.broken.items())]
    found.remarks += cameras.strange


def _frames(file: SmcFile, found: SmcInventory, camera: str, part: str, name: str) -> None:
    try:
        listed = file.frames("Camera", camera, part)
    except UnreadableData as refusal:
        found.remarks.append(f"camera {camera} {name}: {refusal.reason}")
        return
    frames = listed.frames
    holes = _holes(frames)
    found.cameras[camera][name] = {
        "frames": len(frames),
        "last": frames[-1] if frames else None,
        "holes": holes,
    }
    found.modalities[name] = found.modalities.get(name, 0) + len(frames)
    refused = [f"camera {camera} {name}: {reason}" for _, reason in listed.refused]
    found.remarks += refused[:_NAMED]
    if len(refused) > _NAMED:
        found.remarks.append(f"camera {camera} {name}: {len(refused)} entries in all are refused")
    if frames and len(holes) < frames[-1] + 1 - frames[0] - len(frames):
        found.remarks.append(f"camera {camera} {name}: holes are listed up to frame {holes[-1]} only")
    codecs = Counter(found.codecs.get(name, {}))  # of a first, a middle and a last frame: all would be extraction
    for frame in sorted({frames[0], frames[len(frames) // 2], frames[-1]}) if frames else ():
        codecs[_codec(file, camera, part, listed.name(frame))] += 1
    found.codecs[name] = dict(codecs)


def _holes(frames: Sequence[int]) -> list[int]:
    """Return the numbers that are missing between the frames, the first of them when they are very many."""
    holes: list[int] = []
    for before, after in pairwise(frames):
        holes += range(before + 1, min(after, before + 1 + _MOST_HOLES - len(holes)))
    return holes


def _codec(file: SmcFile, camera: str, part: str, frame: str) -> str:
    try:
        blob: Blob | None = file.blob("Camera", camera, part, frame)
        picture = check(blob) if blob is not None else None
    except UnreadableData as refusal:
        return f"broken: {refusal.reason}"
    except MissingBytes:  # of a remote file: noted as wanted, and asked for again when it is here
        return "not here yet"
    if picture is None:
        return "gone"
    size = f" {picture.width}x{picture.height}" if picture.width else ""
    return f"{picture.suffix.lstrip('.')}{size}"


def _groups(file: SmcFile, found: SmcInventory) -> None:
    for group, name in _GROUPS.items():
        try:
            count = len(file.entries(group))
        except UnreadableData as refusal:
            found.remarks.append(refusal.reason)
            continue
        if count:
            found.modalities[name] = count


def _sound(file: SmcFile, found: SmcInventory) -> None:
    try:
        sound = audio_shape(file)
    except UnreadableData as refusal:
        found.remarks.append(f"audio: {refusal.reason}")
        return
    if sound is None:
        return
    found.audio = {"camera": sound.camera, "seconds": round(sound.seconds, 3), "sample_rate": sound.rate}
    found.modalities["audio"] = 1
    with_images = [camera for camera, entry in found.cameras.items() if "images" in entry]
    frames = set().union(*(file.frames("Camera", camera, "color").frames for camera in with_images))
    rate = frame_rate(max(frames, default=-1) + 1, sound.seconds)
    if rate is not None:
        found.fps = rate.fps
        found.remarks += [f"fps {rate.note}"] if rate.note else []


def as_text(found: SmcInventory) -> str:
    """Return the survey as a person reads it."""
    with_images = [camera for camera, entry in found.cameras.items() if "images" in entry]
    lines = [
        f"{found.path}: {found.bytes / 2**20:.1f} MB",
        "  attributes  " + _pairs(found.attributes),
        "  reported    " + _pairs(found.reported) + "   (by the file; the rest is counted)",
        f"  cameras     {len(found.cameras)} there, {len(with_images)} with images",
        f"  fps         {found.fps or 'unknown (needs images and sound)'}",
        "  holds       " + (", ".join(f"{name} {count}" for name, count in found.modalities.items()) or "nothing"),
    ]
    if found.audio:
        lines.append(f"  audio       {found.audio['seconds']} s at {found.audio['sample_rate']} Hz")
    lines += [f"  {name:<11} {_pairs(kinds)}" for name, kinds in found.codecs.items()]
    lines += _camera_lines(found)
    return "\n".join(lines + [f"  note: {remark}" for remark in found.remarks])


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(printable(f"{key} {value}", _LONGEST) for key, value in values.items()) or "none"


def _camera_lines(found: SmcInventory) -> list[str]:
    """Return one line for each group of cameras that hold the same: 60 cameras are mostly alike."""
    groups: dict[str, list[str]] = {}
    for camera, entry in found.cameras.items():
        parts = [_part(name, entry[name]) for name in ("images", "masks") if name in entry]
        groups.setdefault(
            "; ".join(parts) or printable("no images: " + ", ".join(entry["holds"]), _LONGEST), []
        ).append(camera)
    return [f"  {_list(cameras):<11} {what}" for what, cameras in groups.items()]


def _part(name: str, part: dict[str, Any]) -> str:
    holes = part["holes"]
    without = f", without {_list([str(hole) for hole in holes])}" if holes else ""
    return f"{part['frames']} {name} (last frame {part['last']}{without})"


def _list(names: list[str]) -> str:
    shown = " ".join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown} ... ({len(names)} in all)"
