"""2D and 3D landmarks: every frame that has them, stacked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rm360_async.domain.names import Modality, camera_folder, is_camera
from rm360_async.extraction.arrays import split_by_shape, write_npz
from rm360_async.extraction.context import ExtractionContext, ModalityResult
from rm360_async.extraction.previous import PreviousFolder
from rm360_async.smc import SmcFile, UnreadableData, read_array
from rm360_async.smc.errors import unexpected_names

_MAX_FRAME_BYTES = 16 * 1024
"""Of the landmarks of one frame; (106, 2) float64 is 1.7 kB."""


def extract_2d(context: ExtractionContext) -> ModalityResult:
    """Write keypoints2d/cam_XX.npz of the chosen cameras: frames (F,), keypoints (F, 106, 2) px."""
    result = ModalityResult(Modality.KEYPOINTS2D)
    file = context.source.file_with("Keypoints2d")
    if file is None:
        return result
    names = sorted(entry.name for entry in file.list_entries("Keypoints2d"))
    result.notes += unexpected_names([name for name in names if not is_camera(name)], "camera", "/Keypoints2d/")
    for camera in result.unique_cameras(name for name in names if name in context.cameras):
        if context.previous is not None and context.previous.has(Modality.KEYPOINTS2D, camera):
            _reuse(context, result, context.previous, camera)
            continue
        _write(context, result, file, ("Keypoints2d", camera), camera, f"keypoints2d/{camera_folder(camera)}.npz")
    return result


def _reuse(context: ExtractionContext, result: ModalityResult, previous: PreviousFolder, camera: str) -> None:
    result.stored = True
    reused = previous.file(f"keypoints2d/{camera_folder(camera)}")
    if reused is not None:  # a camera without landmarks in any frame has no file
        context.folder.link(reused.path, reused.listed)
        result.files += 1


def extract_3d(context: ExtractionContext) -> ModalityResult:
    """Write keypoints3d/all_frames.npz: frames (F,), keypoints (F, 73, 3) metres."""
    result = ModalityResult(Modality.KEYPOINTS3D)
    file = context.source.file_with("Keypoints3d")
    if file is not None:
        _write(context, result, file, ("Keypoints3d",), "", "keypoints3d/all_frames.npz")
    return result


def _write(
    context: ExtractionContext,
    result: ModalityResult,
    file: SmcFile,
    parts: tuple[str, ...],
    camera: str,
    relative: str,
) -> None:
    try:
        result.add_index(camera, file.frames(*parts))
    except UnreadableData as error:
        result.leave_out(camera, None, error.reason)
        return
    arrays = _read(result, file, parts, camera)
    frames, others = split_by_shape({frame: (values.shape, values.dtype.str) for frame, values in arrays.items()})
    for frame in others:
        result.leave_out(camera, frame, f"has shape {arrays[frame].shape} {arrays[frame].dtype}, unlike most frames")
    if not frames:
        return
    context.copier.require_space(sum(arrays[frame].nbytes for frame in frames))
    with context.folder.open(relative) as target:
        stacked = np.stack([arrays[frame] for frame in frames])
        write_npz(target, {"frames": np.array(frames, np.int64), "keypoints": stacked})
    result.frames[camera] = frames
    result.files += 1


def _read(result: ModalityResult, file: SmcFile, parts: tuple[str, ...], camera: str) -> dict[int, NDArray[Any]]:
    listed = file.frames(*parts)
    arrays: dict[int, NDArray[Any]] = {}
    for frame in listed.frames:
        try:
            values = read_array(file, (*parts, listed.stored_name(frame)), _MAX_FRAME_BYTES)
            if values is None:
                raise UnreadableData("is gone")
            if values.size:
                arrays[frame] = values
            else:  # the release writes a frame without landmarks as an empty array: absent, so not in the index either
                result.index_sizes[camera] -= 1
        except UnreadableData as error:
            result.leave_out(camera, frame, error.reason)
    return arrays
