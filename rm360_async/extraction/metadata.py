"""metadata/info.json: actor, capture, cameras, and what the folder really holds. Written last."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field

from rm360_async.domain.cameras.calibration.checks import CalibrationResult, check_calibration
from rm360_async.domain.cameras.rig import FRONT_CAMERA
from rm360_async.domain.completeness import Completeness, ExtractionFacts, assess_completeness
from rm360_async.domain.names import Modality, Performance
from rm360_async.domain.record import LeftOut
from rm360_async.domain.release import frame_rate
from rm360_async.extraction.context import ExtractionContext, ModalityResult
from rm360_async.smc import UnreadableData, read_audio_shape, read_calibration, read_image_size

_ACTOR_KEYS = ("age", "color", "gender", "height", "weight")
_CAMERA_KEYS = ("num_device", "num_frame", "resolution")
_KNOWN_KEYS = ("actor_id", "performance_part", "capture_date", *_ACTOR_KEYS)
_CALIBRATION = Modality.CALIBRATION.value


@dataclass
class CollectedMetadata:
    """What an extraction found: `cameras` has the images written per camera, `frames` the maximum of them."""

    cameras: dict[str, int] = field(default_factory=dict)
    missing_frames: dict[str, list[int]] = field(default_factory=dict)
    frames: int = 0
    fps: float | None = None
    fps_note: str = ""
    audio_seconds: float | None = None
    absent: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    warnings: list[str] = field(default_factory=list)
    stored: dict[str, frozenset[int]] = field(default_factory=dict)
    """The frames in the source's index of the chosen cameras, and of one more to compare them with."""
    source_says: dict[str, object] = field(default_factory=dict)
    """The names in the source's own attributes, where they differ from those of the performance."""
    verdict: Completeness | None = None
    calibration: CalibrationResult | None = None


def write_metadata(context: ExtractionContext, performance: Performance, metadata: CollectedMetadata) -> None:
    """Write metadata/info.json from the collected metadata and the attributes of the source."""
    attributes, notes = _attributes(context)
    camera_attributes, camera_notes = _attributes(context, "Camera")
    warnings = [*metadata.warnings, *notes, *camera_notes]
    warnings += [f"the source says {key} {value!r}" for key, value in metadata.source_says.items()]
    info: dict[str, object] = {
        "subject_id": performance.subject,
        "performance": performance.name,
        "actor_info": _selected(attributes, _ACTOR_KEYS),
        "camera_info": _selected(camera_attributes, _CAMERA_KEYS),
        "capture_date": attributes.get("capture_date"),
        "cameras": metadata.cameras,
        "missing_frames": metadata.missing_frames,
        "fps": metadata.fps,
        "absent": metadata.absent,
        "left_out": [asdict(item) for item in metadata.left_out],
        "warnings": warnings,
    }
    optional = {
        "fps_note": metadata.fps_note,
        "source_says": metadata.source_says,
        "other_attributes": {key: value for key, value in attributes.items() if key not in _KNOWN_KEYS},
    }
    info |= _completeness_json(metadata) | {key: value for key, value in optional.items() if value}
    text = json.dumps(_without_nan(info), indent=1, ensure_ascii=False, allow_nan=False)
    context.folder.write("metadata/info.json", f"{text}\n".encode("utf-8", "backslashreplace"))


def collect_metadata(
    context: ExtractionContext, performance: Performance, results: Iterable[ModalityResult]
) -> CollectedMetadata:
    """Count frames and missing frames, compute the frame rate, and compare names; reads no image."""
    results = list(results)
    metadata = CollectedMetadata(
        absent=tuple(result.modality.value for result in results if not result.stored),
        left_out=tuple(item for result in results for item in result.left_out),
        source_says=_differing_names(context, performance),
    )
    metadata.warnings += [note for file in context.source.files for note in file.notes]
    metadata.warnings += [note for result in results for note in result.notes]
    images = next((result for result in results if result.modality is Modality.IMAGES), None)
    metadata.stored = _stored_frames(context, metadata, images is not None)
    every_frame = set().union(*metadata.stored.values())
    for camera, frames in sorted(images.frames.items() if images is not None else ()):
        metadata.cameras[camera] = len(frames)
        if missing := sorted(every_frame - set(frames)):
            metadata.missing_frames[camera] = missing
    metadata.frames = max(metadata.cameras.values(), default=0)
    _add_frame_rate(context, metadata, max(every_frame, default=-1) + 1)
    return metadata


def _stored_frames(
    context: ExtractionContext, metadata: CollectedMetadata, has_images: bool
) -> dict[str, frozenset[int]]:
    """Return the frames in the index of the cameras that are chosen for images, and of one more camera.

    The one more shows a frame that all chosen cameras lack, and the length of the performance. The other cameras
    would add nothing, and each index of a remote file has to be downloaded.
    """
    raw = context.source.raw
    stored: dict[str, frozenset[int]] = {}
    if raw is None:
        return stored
    try:
        metadata.warnings += raw.cameras.unexpected
        with_images = raw.cameras.with_part("color")
        chosen = context.cameras & set(with_images) if has_images else set()
        others = sorted(set(with_images) - chosen, key=lambda camera: (camera != FRONT_CAMERA, camera))
        for camera in sorted(chosen | set(others[:1])):
            try:
                stored[camera] = frozenset(raw.frames("Camera", camera, "color").frames)
            except UnreadableData as error:
                metadata.warnings.append(f"camera {camera}: {error.reason}")
    except UnreadableData as error:
        metadata.warnings.append(error.reason)
    return stored


def _add_frame_rate(context: ExtractionContext, metadata: CollectedMetadata, frames: int) -> None:
    """Compute the frame rate from the last frame of any camera and the seconds of audio."""
    try:
        audio = read_audio_shape(context.source.raw) if context.source.raw is not None else None
    except UnreadableData:  # the audio modality reports it
        audio = None
    if audio is None:
        return
    metadata.audio_seconds = audio.seconds
    rate = frame_rate(frames, audio.seconds)
    if rate is not None:
        metadata.fps, metadata.fps_note = rate.fps, rate.note


def _attributes(context: ExtractionContext, *group: str) -> tuple[dict[str, object], list[str]]:
    """Return a group's attributes, those of the raw file first, and notes on attributes that cannot be read."""
    merged: dict[str, object] = {}
    notes: list[str] = []
    for file in context.source.files:
        attributes, unreadable = file.read_attributes(*group)
        merged = attributes | merged
        notes += unreadable
    return merged, notes


def _differing_names(context: ExtractionContext, performance: Performance) -> dict[str, object]:
    """Return the names in the attributes of the source files that differ from those of the performance."""
    expected = {"actor_id": performance.subject, "performance_part": performance.name}
    differing: dict[str, object] = {}
    for file in context.source.files:
        attributes, _ = file.read_attributes()
        names = {key: attributes[key] for key in expected if attributes.get(key) is not None}
        differing |= {
            key: value for key, value in names.items() if str(value).strip().zfill(4) != expected[key].zfill(4)
        }
    return differing


def _completeness_json(metadata: CollectedMetadata) -> dict[str, object]:
    """Return the completeness and its findings as JSON values; empty if it was not assessed."""
    verdict, report = metadata.verdict, metadata.calibration
    if verdict is None:
        return {}
    values: dict[str, object] = {
        "verdict": verdict.level.value,
        "findings": [finding.as_json() for finding in verdict.findings],
        "absent_as_released": list(verdict.absent_as_released),
    }
    if report is not None:
        values["calibration"] = {"state": report.state.value, "checks": [check.as_json() for check in report.checks]}
    return values


def _selected(values: dict[str, object], keys: tuple[str, ...]) -> dict[str, object]:
    return {key: values[key] for key in keys if key in values}


def _without_nan(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def add_completeness(
    context: ExtractionContext,
    performance: Performance,
    sources: Iterable[str],
    wanted_cameras: str | tuple[str, ...],
    wanted_modalities: Collection[str],
    metadata: CollectedMetadata,
) -> None:
    """Assess the completeness of what `collect_metadata` counted, and check the calibration if it is wanted."""
    metadata.calibration = _check_calibration(context, metadata) if _CALIBRATION in wanted_modalities else None
    report = metadata.calibration
    failed = [] if report is None else [f"{check.name}: {check.sentence}" for check in report.failures]
    metadata.verdict = assess_completeness(
        ExtractionFacts(
            performance,
            tuple(sources),
            wanted_cameras,
            frozenset(map(Modality, wanted_modalities)),
            frozenset(map(Modality, metadata.absent)),
            metadata.stored if Modality.IMAGES.value in wanted_modalities else {},
            context.cameras,
            metadata.left_out,
            metadata.fps,
            metadata.fps_note,
            failed,
            metadata.source_says,
        )
    )


def _check_calibration(context: ExtractionContext, metadata: CollectedMetadata) -> CalibrationResult | None:
    """Return the checks of the calibration; None if there is none, which the completeness counts as absent."""
    file = context.source.file_with("Calibration")
    if file is None:
        return None
    try:
        cameras, _ = read_calibration(file)
    except UnreadableData:  # the calibration modality has left it out and reports it
        return None
    matrices = {camera: {"K": one.K, "D": one.D, "RT": one.RT} for camera, one in cameras.items()}
    sizes = (read_image_size(each, part) for each in context.source.files[::-1] for part in ("color", "mask"))
    image = next((size for size in sizes if size), None)
    return check_calibration(matrices, image, context.cameras & metadata.stored.keys())
