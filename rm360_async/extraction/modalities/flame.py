"""FLAME fits: a group of parameters per frame, every parameter stacked to (F, ...).

The albedos of a performance alone can be gigabytes, so the .npz is written parameter by parameter and frame by
frame, with one array in memory. That needs all shapes first, which is a pass over metadata. An array that turns
out to be unreadable while it is written spoils the archive: then every array is read once, the broken frames are
left out, and the archive is written again.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rm360_async.domain.names import Modality
from rm360_async.extraction.arrays import NpzWriter, most_common, split_by_shape
from rm360_async.extraction.context import ExtractionContext, ModalityResult
from rm360_async.smc import SmcFile, UnreadableData, read_array
from rm360_async.smc.arrays import read_array_shape
from rm360_async.smc.errors import quoted_name

_MAX_ARRAY_BYTES = 256 * 2**20
_MAX_PARAMETERS = 100
_MAX_NAME_CHARS = 200
_FRAMES = "frames"
"""The array of the frame numbers beside the parameters."""

Signature = tuple[tuple[str, tuple[int, ...], str], ...]
"""(name, shape, dtype) of each parameter of one frame, sorted by name."""


def extract(context: ExtractionContext) -> ModalityResult:
    """Write flame/all_frames.npz: frames (F,) and each parameter (F, ...), as stored."""
    result = ModalityResult(Modality.FLAME)
    file = context.source.file_with("FLAME")
    if file is None:
        return result
    result.add_index("", file.frames("FLAME"))
    signatures = _signatures(result, file)
    frames, others = split_by_shape(signatures)
    common = most_common(signatures)
    for frame in others:
        result.leave_out("", frame, _difference(signatures[frame], common or ()))
    if common and frames:
        frames = _write_intact_frames(context, result, file, frames, common)
        result.frames[""] = frames
        result.files += bool(frames)
    return result


def _write_intact_frames(
    context: ExtractionContext, result: ModalityResult, file: SmcFile, frames: list[int], common: Signature
) -> list[int]:
    """Write the archive without the frames that cannot be read; return the frames in it."""
    try:
        _write(context, file, frames, common)
    except UnreadableData:
        broken = {frame: reason for frame in frames if (reason := _read_error(file, frame, common))}
        result.leave_out_all("", broken.items())
        frames = [frame for frame in frames if frame not in broken]
        if frames:
            _write(context, file, frames, common)
    return frames


def _write(context: ExtractionContext, file: SmcFile, frames: list[int], common: Signature) -> None:
    sizes = (np.dtype(dtype).itemsize * math.prod(shape) for _, shape, dtype in common)
    context.copier.require_space(len(frames) * sum(sizes))
    with context.folder.open("flame/all_frames.npz") as target, NpzWriter(target) as archive:
        archive.add(_FRAMES, np.array(frames, np.int64))
        for name, shape, dtype in common:
            archive.add_stacked(name, (len(frames), *shape), np.dtype(dtype), _read_frames(file, frames, name))
            context.copier.report_progress()


def _read_frames(file: SmcFile, frames: list[int], name: str) -> Iterator[NDArray[Any]]:
    listed = file.frames("FLAME")
    for frame in frames:
        yield _read_parameter(file, listed.stored_name(frame), name)


def _read_parameter(file: SmcFile, frame_name: str, name: str) -> NDArray[Any]:
    values = read_array(file, ("FLAME", frame_name, name), _MAX_ARRAY_BYTES)
    if values is None:
        raise UnreadableData("is gone")
    return values


def _read_error(file: SmcFile, frame: int, common: Signature) -> str:
    for name, _, _ in common:
        try:
            _read_parameter(file, file.frames("FLAME").stored_name(frame), name)
        except UnreadableData as error:
            return f"parameter {name!r}: {error.reason}"
    return ""


def _signatures(result: ModalityResult, file: SmcFile) -> dict[int, Signature]:
    """Return the signature of each frame; a parameter that is not a numeric array is left out and noted once."""
    listed = file.frames("FLAME")
    signatures: dict[int, Signature] = {}
    skipped: dict[str, str] = {}
    for frame in listed.frames:
        try:
            signature = _signature(file, listed.stored_name(frame), skipped)
            if not signature:
                raise UnreadableData("has no parameters")
            signatures[frame] = signature
        except UnreadableData as error:
            result.leave_out("", frame, error.reason)
    for name, reason in skipped.items():
        result.leave_out("", None, f"parameter {quoted_name(name)} {reason}")
    return signatures


def _signature(file: SmcFile, frame_name: str, skipped: dict[str, str]) -> Signature:
    entries = file.list_entries("FLAME", frame_name)
    if len(entries) > _MAX_PARAMETERS:
        raise UnreadableData(f"has {len(entries)} parameters")
    parameters = []
    for name in sorted(entry.name for entry in entries):
        try:
            if name == _FRAMES or "/" in name or not name.isprintable() or len(name) > _MAX_NAME_CHARS:
                raise UnreadableData("has a name that an .npz cannot hold beside the frames")
            shape = read_array_shape(file.dataset("FLAME", frame_name, name), _MAX_ARRAY_BYTES)
            parameters.append((name, shape.shape, shape.dtype.str))
        except UnreadableData as error:
            skipped.setdefault(name, error.reason)
    return tuple(parameters)


def _difference(signature: Signature, common: Signature) -> str:
    """Return how a frame's signature differs from that of most frames."""
    parameters, expected = {part[0]: part[1:] for part in signature}, {part[0]: part[1:] for part in common}
    for name in sorted({*parameters, *expected}):
        if name not in parameters:
            return f"has no parameter {name!r}, unlike most frames"
        if parameters[name] != expected.get(name):
            shape, dtype = parameters[name]
            return f"parameter {name!r} has shape {shape} ({dtype}), unlike most frames"
    return "differs from most frames"
