"""The inventory of an .smc file as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rm360_async.commands.inspect import SmcInventory
from rm360_async.smc.errors import one_line

_MAX_NAMES_SHOWN = 40
_MAX_TEXT_CHARS = 200


def as_text(inventory: SmcInventory) -> str:
    """Return the inventory as text."""
    modalities = ", ".join(f"{name} {count}" for name, count in inventory.modalities.items())
    lines = [
        f"{inventory.path}: {inventory.bytes / 2**20:.1f} MB",
        "  attributes  " + _pairs(inventory.attributes),
        "  reported    " + _pairs(inventory.reported) + "   (by the file itself; all other numbers are counted)",
        f"  cameras     {len(inventory.cameras)} present, {len(inventory.cameras_with_images)} with images",
        f"  fps         {inventory.fps or 'unknown (needs images and audio)'}",
        f"  contents    {modalities or 'nothing'}",
    ]
    if inventory.audio:
        lines.append(f"  audio       {inventory.audio['seconds']} s at {inventory.audio['sample_rate']} Hz")
    lines += [f"  {modality:<11} {_pairs(codecs)}" for modality, codecs in inventory.codecs.items()]
    if inventory.other_groups:
        lines.append(f"  other groups {one_line(_shortened(inventory.other_groups), _MAX_TEXT_CHARS)}")
    lines += _camera_lines(inventory)
    return "\n".join(lines + [f"  note: {remark}" for remark in inventory.remarks])


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(one_line(f"{key} {value}", _MAX_TEXT_CHARS) for key, value in values.items()) or "none"


def _camera_lines(inventory: SmcInventory) -> list[str]:
    """Return a line for each group of cameras with the same contents: most of the 60 cameras are alike."""
    groups: dict[str, list[str]] = {}
    for camera, contents in inventory.cameras.items():
        parts = [_frames_text(name, contents[name]) for name in ("images", "masks") if name in contents]
        no_images = "no images: " + ", ".join(contents["holds"])
        groups.setdefault("; ".join(parts) or one_line(no_images, _MAX_TEXT_CHARS), []).append(camera)
    return [f"  {_shortened(cameras):<11} {text}" for text, cameras in groups.items()]


def _frames_text(modality: str, frames: Mapping[str, Any]) -> str:
    missing = [str(frame) for frame in frames["holes"]]
    without = f", without {_shortened(missing)}" if missing else ""
    return f"{frames['frames']} {modality} (last frame {frames['last']}{without})"


def _shortened(names: Sequence[str]) -> str:
    shown = " ".join(names[:_MAX_NAMES_SHOWN])
    return shown if len(names) <= _MAX_NAMES_SHOWN else f"{shown} ... ({len(names)} in all)"
