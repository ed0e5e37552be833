"""The function that extracts each modality, in the order of extraction; metadata is written last and not among them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rm360_async.domain.names import Modality
from rm360_async.extraction.context import ExtractionContext, Extractor, ModalityResult
from rm360_async.extraction.modalities import audio, calibration, flame, images, keypoints, scan

EXTRACTORS: dict[Modality, Extractor] = {
    Modality.CALIBRATION: calibration.extract,
    Modality.IMAGES: images.extract_images,
    Modality.MASKS: images.extract_masks,
    Modality.AUDIO: audio.extract,
    Modality.KEYPOINTS2D: keypoints.extract_2d,
    Modality.KEYPOINTS3D: keypoints.extract_3d,
    Modality.FLAME: flame.extract,
    Modality.UV_TEXTURES: images.extract_uv_textures,
    Modality.SCAN: scan.extract,
    Modality.SCAN_MASKS: images.extract_scan_masks,
}
STARTERS: dict[Modality, Callable[[ExtractionContext], Extractor]] = {Modality.AUDIO: audio.start}
"""What works in a process of its own beside the images: started before all, finished in its turn."""
_WITHOUT_CAMERAS = frozenset({Modality.AUDIO, Modality.KEYPOINTS3D, Modality.FLAME, Modality.SCAN})


def extract_modality(context: ExtractionContext, modality: Modality) -> ModalityResult:
    """Extract one modality, or reuse all of its files from the previous folder."""
    previous = context.previous
    if previous is None or not _is_reused(context, modality):
        return context.started.get(modality, EXTRACTORS[modality])(context)
    result = ModalityResult(modality, stored=modality.value not in previous.record.absent)
    for reused in previous.files(modality):
        context.folder.link(reused.path, reused.listed)
        result.files += 1
    return result


def start_modalities(context: ExtractionContext, modalities: Iterable[Modality]) -> None:
    """Start those of the wanted modalities that work beside the others; `extract_modality` finishes them."""
    for modality in modalities:
        if modality in STARTERS and not _is_reused(context, modality):
            context.started[modality] = STARTERS[modality](context)


def _is_reused(context: ExtractionContext, modality: Modality) -> bool:
    """Return True if all files of a modality are those of the previous folder."""
    previous = context.previous
    return previous is not None and modality in _WITHOUT_CAMERAS and previous.has(modality)
