"""Images, masks, UV textures and scan masks: encoded images, written exactly as stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rm360_async.domain.names import Modality, camera_folder, frame_stem, is_camera
from rm360_async.extraction.context import ExtractionContext, ModalityResult
from rm360_async.extraction.copier import Item
from rm360_async.extraction.previous import ReusedFile
from rm360_async.smc import Blob, SmcFile, UnreadableData
from rm360_async.smc.errors import unexpected_names


def extract_images(context: ExtractionContext) -> ModalityResult:
    """Write images/cam_XX/frame_NNNNNN.jpg of the chosen cameras."""
    result = ModalityResult(Modality.IMAGES)
    if context.source.raw is not None:
        _extract_cameras(context, result, context.source.raw, "color")
    return result


def extract_masks(context: ExtractionContext) -> ModalityResult:
    """Write masks/cam_XX/frame_NNNNNN.png of the chosen cameras."""
    result = ModalityResult(Modality.MASKS)
    file = context.source.file_with_masks()
    if file is not None:
        _extract_cameras(context, result, file, "mask")
    return result


def extract_uv_textures(context: ExtractionContext) -> ModalityResult:
    """Write uv_textures/frame_NNNNNN with the suffix of what is stored."""
    result = ModalityResult(Modality.UV_TEXTURES)
    file = context.source.file_with("UV_texture")
    if file is not None:
        result.add_index("", file.frames("UV_texture"))
        _copy(context, result, _frame_items(context, result, file, ("UV_texture",), "", "uv_textures"))
    return result


def extract_scan_masks(context: ExtractionContext) -> ModalityResult:
    """Write scan_masks/cam_XX.png of the chosen cameras."""
    result = ModalityResult(Modality.SCAN_MASKS)
    file = context.source.file_with("ScanMask")
    if file is not None:
        names = sorted(entry.name for entry in file.list_entries("ScanMask"))
        cameras = result.unique_cameras(name for name in names if name in context.cameras)
        result.notes += unexpected_names([name for name in names if not is_camera(name)], "camera", "/ScanMask/")
        result.stored = bool(cameras)
        _copy(context, result, (_scan_mask_item(context, file, camera) for camera in cameras))
    return result


def _scan_mask_item(context: ExtractionContext, file: SmcFile, camera: str) -> Item:
    stem = f"scan_masks/{camera_folder(camera)}"
    blob: Blob | UnreadableData | ReusedFile | None = _reused_file(context, Modality.SCAN_MASKS, camera, stem)
    try:
        blob = blob or file.blob("ScanMask", camera) or UnreadableData("is gone")
    except UnreadableData as error:
        blob = error
    return Item(camera, None, stem, blob)


def _reused_file(context: ExtractionContext, modality: Modality, camera: str, stem: str) -> ReusedFile | None:
    """Return the file of the previous folder, None if it has to be read from the source."""
    previous = context.previous
    return previous.file(stem) if previous is not None and previous.has(modality, camera) else None


def _extract_cameras(context: ExtractionContext, result: ModalityResult, file: SmcFile, part: str) -> None:
    for camera, reason in file.cameras.unreadable.items():
        if camera in context.cameras:
            result.leave_out(camera, None, reason)
    _copy(context, result, _camera_items(context, result, file, part))


def _camera_items(context: ExtractionContext, result: ModalityResult, file: SmcFile, part: str) -> Iterator[Item]:
    """Yield the items of one camera after the other; a camera whose index is broken is left out entirely."""
    for camera in file.cameras.with_part(part):
        if camera not in context.cameras:
            continue
        folder = f"{result.modality.value}/{camera_folder(camera)}"
        try:
            result.add_index(camera, file.frames("Camera", camera, part))
            yield from _frame_items(context, result, file, ("Camera", camera, part), camera, folder)
        except UnreadableData as error:
            result.leave_out(camera, None, error.reason)


def _frame_items(
    context: ExtractionContext, result: ModalityResult, file: SmcFile, parts: tuple[str, ...], camera: str, folder: str
) -> Iterator[Item]:
    """Yield the reused files, then the images to read: of reused ones only the names in the index are read."""
    to_read = []
    for frame in file.frames(*parts).frames:
        stem = f"{folder}/{frame_stem(frame)}"
        reused = _reused_file(context, result.modality, camera, stem)
        if reused is None:
            to_read.append(frame)
        else:
            yield Item(camera, frame, stem, reused)
    for frame, blob in file.blobs(*parts, frames=to_read):
        yield Item(camera, frame, f"{folder}/{frame_stem(frame)}", blob)


def _copy(context: ExtractionContext, result: ModalityResult, items: Iterable[Item]) -> None:
    for copied in context.copier.run(items):
        if copied.refused is not None:
            result.leave_out(copied.camera, copied.frame, copied.refused)
            continue
        result.files += 1
        if copied.frame is not None:
            result.frames.setdefault(copied.camera, []).append(copied.frame)
