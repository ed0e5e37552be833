"""Which function extracts which modality; metadata is written last and so is not among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rm360_async.domain.names import Modality
from rm360_async.extraction.context import ExtractionContext, ModalityResult
from rm360_async.extraction.modalities import audio, calibration, flame, images, keypoints, scan

Step = Callable[[ExtractionContext], ModalityResult]
STEPS: dict[Modality, Step] = {
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


def carry_out(work: ExtractionContext, modality: Modality, steps: Mapping[Modality, Step] = STEPS) -> ModalityResult:
    """Extract one modality, or take it over whole from the folder that is added to."""
    base = work.base
    if base is None or modality not in _WITHOUT_CAMERAS or not base.has(modality):
        return steps[modality](work)
    found = ModalityResult(modality, stored=modality.value not in base.record.absent)
    for kept in base.files(modality):
        work.folder.link(kept.path, kept.listed)
        found.files += 1
    return found
