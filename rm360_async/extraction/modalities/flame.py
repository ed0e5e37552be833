"""FLAME fits: a group of parameters per frame, every parameter stacked to (F, ...).

A performance's albedos alone can be gigabytes, so the .npz is written parameter by parameter and frame by
frame, with one array in memory. That needs all shapes first, which is a pass over metadata. An array that
turns out to be unreadable while it is written spoils the archive: then every array is tried once, the broken
frames are left out, and the archive is written anew.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rm360_async.domain.names import Modality
from rm360_async.extraction.arrays import NpzWriter, most_common, split
from rm360_async.extraction.context import ExtractionContext, ModalityResult
from rm360_async.smc import SmcFile, UnreadableData, read_array
from rm360_async.smc.arrays import array_shape
from rm360_async.smc.errors import shown

_LARGEST = 256 * 2**20
_MOST_PARAMETERS = 100
_RESERVED = "frames"
_LONGEST_NAME = 200

Signature = tuple[tuple[str, tuple[int, ...], str], ...]
"""(name, shape, dtype) of each parameter of one frame, sorted by name."""


def extract(work: ExtractionContext) -> ModalityResult:
    """Write flame/all_frames.npz: frames (F,) and each parameter (F, ...), as stored."""
    found = ModalityResult(Modality.FLAME)
    file = work.source.having("FLAME")
    if file is None:
        return found
    found.list_frames("", file.frames("FLAME"))
    signatures = _signatures(found, file)
    frames, odd = split(signatures)
    usual = most_common(signatures)
    for frame in odd:
        found.leave_out("", frame, _difference(signatures[frame], usual or ()))
    if usual and frames:
        frames = _write_whole(work, found, file, frames, usual)
        found.frames[""] = frames
        found.files += bool(frames)
    return found


def _write_whole(
    work: ExtractionContext, found: ModalityResult, file: SmcFile, frames: list[int], usual: Signature
) -> list[int]:
    """Write the archive, without the frames that cannot be read; return the frames in it."""
    try:
        _write(work, file, frames, usual)
    except UnreadableData:
        broken = {frame: reason for frame in frames if (reason := _broken(file, frame, usual))}
        found.leave_out_all("", broken.items())
        frames = [frame for frame in frames if frame not in broken]
        if frames:
            _write(work, file, frames, usual)
    return frames


def _write(work: ExtractionContext, file: SmcFile, frames: list[int], usual: Signature) -> None:
    sizes = (np.dtype(dtype).itemsize * math.prod(shape) for _, shape, dtype in usual)
    work.copier.require_room(len(frames) * sum(sizes))
    with work.folder.open("flame/all_frames.npz") as target, NpzWriter(target) as archive:
        archive.add("frames", np.array(frames, np.int64))
        for name, shape, dtype in usual:
            archive.add_stacked(name, (len(frames), *shape), np.dtype(dtype), _read_all(file, frames, name))
            work.copier.progress()


def _read_all(file: SmcFile, frames: list[int], name: str) -> Iterator[NDArray[Any]]:
    listed = file.frames("FLAME")
    for frame in frames:
        yield _read(file, listed.name(frame), name)


def _read(file: SmcFile, frame_name: str, name: str) -> NDArray[Any]:
    values = read_array(file, ("FLAME", frame_name, name), _LARGEST)
    if values is None:
        raise UnreadableData("is gone")
    return values


def _broken(file: SmcFile, frame: int, usual: Signature) -> str:
    for name, _, _ in usual:
        try:
            _read(file, file.frames("FLAME").name(frame), name)
        except UnreadableData as refusal:
            return f"parameter {name!r}: {refusal.reason}"
    return ""


def _signatures(found: ModalityResult, file: SmcFile) -> dict[int, Signature]:
    """Return each frame's parameters; what is no numeric array is noted once per name and passed over."""
    listed = file.frames("FLAME")
    signatures: dict[int, Signature] = {}
    passed_over: dict[str, str] = {}
    for frame in listed.frames:
        try:
            signature = _signature(file, listed.name(frame), passed_over)
            if not signature:
                raise UnreadableData("has no parameters")
            signatures[frame] = signature
        except UnreadableData as refusal:
            found.leave_out("", frame, refusal.reason)
    for name, reason in passed_over.items():
        found.leave_out("", None, f"parameter {shown(name)} {reason}")
    return signatures


def _signature(file: SmcFile, frame_name: str, passed_over: dict[str, str]) -> Signature:
    entries = file.entries("FLAME", frame_name)
    if len(entries) > _MOST_PARAMETERS:
        raise UnreadableData(f"has {len(entries)} parameters")
    parameters = []
    for name in sorted(entry.name for entry in entries):
        try:
            if name == _RESERVED or "/" in name or not name.isprintable() or len(name) > _LONGEST_NAME:
                raise UnreadableData("has a name that an .npz cannot hold beside the frames")
            shape = array_shape(file.dataset("FLAME", frame_name, name), _LARGEST)
            parameters.append((name, shape.shape, shape.dtype.str))
        except UnreadableData as refusal:
            passed_over.setdefault(name, refusal.reason)
    return tuple(parameters)


def _difference(signature: Signature, usual: Signature) -> str:
    mine, theirs = {part[0]: part[1:] for part in signature}, {part[0]: part[1:] for part in usual}
    for name in sorted({*mine, *theirs}):
        if name not in mine:
            return f"has no parameter {name!r}, unlike most frames"
        if mine[name] != theirs.get(name):
            return f"parameter {name!r} has shape {mine[name][0]} ({mine[name][1]}), unlike most frames"
    return "differs from most frames"
