"""Images, masks, UV textures and scan masks: encoded pictures, written exactly as stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rm360_async.domain.names import Modality, camera_folder, frame_stem, is_camera
from rm360_async.extraction.context import ExtractionContext, ModalityResult
from rm360_async.extraction.copier import Item
from rm360_async.extraction.previous import ReusedFile
from rm360_async.smc import Blob, SmcFile, UnreadableData
from rm360_async.smc.errors import named


def extract_images(work: ExtractionContext) -> ModalityResult:
    """Write images/cam_XX/frame_NNNNNN.jpg of the chosen cameras."""
    found = ModalityResult(Modality.IMAGES)
    if work.source.raw is not None:
        _camera_frames(work, found, work.source.raw, "color")
    return found


def extract_masks(work: ExtractionContext) -> ModalityResult:
    """Write masks/cam_XX/frame_NNNNNN.png of the chosen cameras."""
    found = ModalityResult(Modality.MASKS)
    file = work.source.having_masks()
    if file is not None:
        _camera_frames(work, found, file, "mask")
    return found


def extract_uv_textures(work: ExtractionContext) -> ModalityResult:
    """Write uv_textures/frame_NNNNNN with the suffix of what is stored."""
    found = ModalityResult(Modality.UV_TEXTURES)
    file = work.source.having("UV_texture")
    if file is not None:
        found.list_frames("", file.frames("UV_texture"))
        _take(work, found, _frame_items(work, found, file, ("UV_texture",), "", "uv_textures"))
    return found


def extract_scan_masks(work: ExtractionContext) -> ModalityResult:
    """Write scan_masks/cam_XX.png of the chosen cameras."""
    found = ModalityResult(Modality.SCAN_MASKS)
    file = work.source.having("ScanMask")
    if file is not None:
        names = sorted(entry.name for entry in file.entries("ScanMask"))
        cameras = found.once(name for name in names if name in work.cameras)
        found.notes += named([name for name in names if not is_camera(name)], "camera", "/ScanMask/")
        found.stored = bool(cameras)
        _take(work, found, (_scan_mask(work, file, camera) for camera in cameras))
    return found


def _scan_mask(work: ExtractionContext, file: SmcFile, camera: str) -> Item:
    stem = f"scan_masks/{camera_folder(camera)}"
    blob: Blob | UnreadableData | ReusedFile | None = _kept(work, Modality.SCAN_MASKS, camera, stem)
    try:
        blob = blob or file.blob("ScanMask", camera) or UnreadableData("is gone")
    except UnreadableData as refusal:
        blob = refusal
    return Item(camera, None, stem, blob)


def _kept(work: ExtractionContext, modality: Modality, camera: str, stem: str) -> ReusedFile | None:
    """Return the published file of the folder that is added to, None when it is to be read."""
    return work.base.file(stem) if work.base is not None and work.base.has(modality, camera) else None


def _camera_frames(work: ExtractionContext, found: ModalityResult, file: SmcFile, part: str) -> None:
    for camera, reason in file.cameras.broken.items():
        if camera in work.cameras:
            found.leave_out(camera, None, reason)
    _take(work, found, _all_items(work, found, file, part))


def _all_items(work: ExtractionContext, found: ModalityResult, file: SmcFile, part: str) -> Iterator[Item]:
    """Yield the blobs of one camera after the other; a camera whose index is broken is left out whole."""
    for camera in file.cameras.having(part):
        if camera not in work.cameras:
            continue
        folder = f"{found.modality.value}/{camera_folder(camera)}"
        try:
            found.list_frames(camera, file.frames("Camera", camera, part))
            yield from _frame_items(work, found, file, ("Camera", camera, part), camera, folder)
        except UnreadableData as refusal:
            found.leave_out(camera, None, refusal.reason)


def _frame_items(
    work: ExtractionContext, found: ModalityResult, file: SmcFile, parts: tuple[str, ...], camera: str, folder: str
) -> Iterator[Item]:
    """Yield what was published before, then what is to be read: of the former only the names are asked for."""
    to_read = []
    for frame in file.frames(*parts).frames:
        stem = f"{folder}/{frame_stem(frame)}"
        kept = _kept(work, found.modality, camera, stem)
        if kept is None:
            to_read.append(frame)
        else:
            yield Item(camera, frame, stem, kept)
    for frame, blob in file.blobs(*parts, frames=to_read):
        yield Item(camera, frame, f"{folder}/{frame_stem(frame)}", blob)


def _take(work: ExtractionContext, found: ModalityResult, items: Iterable[Item]) -> None:
    for copied in work.copier.run(items):
        if copied.refused is not None:
            found.leave_out(copied.camera, copied.frame, copied.refused)
            continue
        found.files += 1
        if copied.frame is not None:
            found.frames.setdefault(copied.camera, []).append(copied.frame)
