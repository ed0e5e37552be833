"""The function that extracts each modality, in the order of extraction; metadata is written last and not among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rm360_async.domain.names import Modality
from rm360_async.extraction.context import ExtractionContext, ModalityResult
from rm360_async.extraction.modalities import audio, calibration, flame, images, keypoints, scan

Extractor = Callable[[ExtractionContext], ModalityResult]
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
_WITHOUT_CAMERAS = frozenset({Modality.AUDIO, Modality.KEYPOINTS3D, Modality.FLAME, Modality.SCAN})


def extract_modality(
    context: ExtractionContext, modality: Modality, extractors: Mapping[Modality, Extractor] = EXTRACTORS
) -> ModalityResult:
    """Extract one modality, or reuse all of its files from the previous folder."""
    previous = context.previous
    if previous is None or modality not in _WITHOUT_CAMERAS or not previous.has(modality):
        return extractors[modality](context)
    result = ModalityResult(modality, stored=modality.value not in previous.record.absent)
    for reused in previous.files(modality):
        context.folder.link(reused.path, reused.listed)
        result.files += 1
    return result
