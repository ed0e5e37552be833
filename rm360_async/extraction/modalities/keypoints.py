"""2D and 3D landmarks: every frame that has them, stacked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rm360_async.domain.names import Modality, camera_folder, is_camera
from rm360_async.extraction.arrays import split, write_npz
from rm360_async.extraction.context import ExtractionContext, ModalityResult
from rm360_async.extraction.previous import PreviousFolder
from rm360_async.smc import SmcFile, UnreadableData, read_array
from rm360_async.smc.errors import named

_LARGEST = 16 * 1024
"""Bytes of one frame's landmarks; (106, 2) float64 is 1.7 kB."""


def extract_2d(work: ExtractionContext) -> ModalityResult:
    """Write keypoints2d/cam_XX.npz of the chosen cameras: frames (F,), keypoints (F, 106, 2) px."""
    found = ModalityResult(Modality.KEYPOINTS2D)
    file = work.source.having("Keypoints2d")
    if file is None:
        return found
    names = sorted(entry.name for entry in file.entries("Keypoints2d"))
    found.notes += named([name for name in names if not is_camera(name)], "camera", "/Keypoints2d/")
    for camera in found.once(name for name in names if name in work.cameras):
        if work.base is not None and work.base.has(Modality.KEYPOINTS2D, camera):
            _take_over(work, found, work.base, camera)
            continue
        _write(work, found, file, ("Keypoints2d", camera), camera, f"keypoints2d/{camera_folder(camera)}.npz")
    return found


def _take_over(work: ExtractionContext, found: ModalityResult, base: PreviousFolder, camera: str) -> None:
    found.stored = True
    kept = base.file(f"keypoints2d/{camera_folder(camera)}")
    if kept is not None:  # a camera of which no frame has landmarks has no file
        work.folder.link(kept.path, kept.listed)
        found.files += 1


def extract_3d(work: ExtractionContext) -> ModalityResult:
    """Write keypoints3d/all_frames.npz: frames (F,), keypoints (F, 73, 3) metres."""
    found = ModalityResult(Modality.KEYPOINTS3D)
    file = work.source.having("Keypoints3d")
    if file is not None:
        _write(work, found, file, ("Keypoints3d",), "", "keypoints3d/all_frames.npz")
    return found


def _write(
    work: ExtractionContext, found: ModalityResult, file: SmcFile, parts: tuple[str, ...], camera: str, relative: str
) -> None:
    try:
        found.list_frames(camera, file.frames(*parts))
    except UnreadableData as refusal:
        found.leave_out(camera, None, refusal.reason)
        return
    arrays = _read(found, file, parts, camera)
    frames, odd = split({frame: (values.shape, values.dtype.str) for frame, values in arrays.items()})
    for frame in odd:
        found.leave_out(camera, frame, f"has shape {arrays[frame].shape} {arrays[frame].dtype}, unlike most frames")
    if not frames:
        return
    work.copier.require_room(sum(arrays[frame].nbytes for frame in frames))
    with work.folder.open(relative) as target:
        stacked = np.stack([arrays[frame] for frame in frames])
        write_npz(target, {"frames": np.array(frames, np.int64), "keypoints": stacked})
    found.frames[camera] = frames
    found.files += 1


def _read(found: ModalityResult, file: SmcFile, parts: tuple[str, ...], camera: str) -> dict[int, NDArray[Any]]:
    listed = file.frames(*parts)
    arrays: dict[int, NDArray[Any]] = {}
    for frame in listed.frames:
        try:
            values = read_array(file, (*parts, listed.name(frame)), _LARGEST)
            if values is None:
                raise UnreadableData("is gone")
            if values.size:
                arrays[frame] = values
            else:  # how the release writes a frame without landmarks: an absent one, so not in the index either
                found.listed[camera] -= 1
        except UnreadableData as refusal:
            found.leave_out(camera, frame, refusal.reason)
    return arrays
