"""Which function extracts which modality; metadata is written last and so is not among them."""

from __future__ import annotations

from collections.abc import Callable

from rm360_async.catalog import Modality
from rm360_async.modalities import audio, calibration, flame, keypoints, pictures, scan
from rm360_async.modalities.work import Found, Work

STEPS: dict[Modality, Callable[[Work], Found]] = {
    Modality.CALIBRATION: calibration.extract,
    Modality.IMAGES: pictures.extract_images,
    Modality.MASKS: pictures.extract_masks,
    Modality.AUDIO: audio.extract,
    Modality.KEYPOINTS2D: keypoints.extract_2d,
    Modality.KEYPOINTS3D: keypoints.extract_3d,
    Modality.FLAME: flame.extract,
    Modality.UV_TEXTURES: pictures.extract_uv_textures,
    Modality.SCAN: scan.extract,
    Modality.SCAN_MASKS: pictures.extract_scan_masks,
}
