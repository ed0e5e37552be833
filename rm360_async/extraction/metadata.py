"""metadata/info.json: who, what, when, and what the folder really holds. Written last."""

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
from rm360_async.smc import UnreadableData, audio_shape, image_size, read_calibration

_ACTOR = ("age", "color", "gender", "height", "weight")
_CAMERA = ("num_device", "num_frame", "resolution")
_NAMED = ("actor_id", "performance_part", "capture_date", *_ACTOR)


@dataclass
class Metadata:
    """What was counted: `cameras` has the images written per camera, `frames` the most of any of them."""

    cameras: dict[str, int] = field(default_factory=dict)
    missing_frames: dict[str, list[int]] = field(default_factory=dict)
    frames: int = 0
    fps: float | None = None
    fps_note: str = ""
    absent: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    warnings: list[str] = field(default_factory=list)
    stored: dict[str, frozenset[int]] = field(default_factory=dict)
    """The frames in the source's index of the chosen cameras, and of one more to compare them with."""
    says: dict[str, object] = field(default_factory=dict)
    """The names in the source's own attributes, where they are not those of the performance."""
    verdict: Completeness | None = None
    calibration: CalibrationResult | None = None


def write_metadata(work: ExtractionContext, performance: Performance, facts: Metadata) -> None:
    """Write metadata/info.json from what `gather` counted and what the source's attributes say."""
    attributes, notes = _attributes(work)
    camera_attributes, camera_notes = _attributes(work, "Camera")
    warnings = [*facts.warnings, *notes, *camera_notes]
    warnings += [f"the source says {key} {value!r}" for key, value in facts.says.items()]
    info: dict[str, object] = {
        "subject_id": performance.subject,
        "performance": performance.name,
        "actor_info": _some(attributes, _ACTOR),
        "camera_info": _some(camera_attributes, _CAMERA),
        "capture_date": attributes.get("capture_date"),
        "cameras": facts.cameras,
        "missing_frames": facts.missing_frames,
        "fps": facts.fps,
        "absent": facts.absent,
        "left_out": [asdict(item) for item in facts.left_out],
        "warnings": warnings,
    }
    optional = {
        "fps_note": facts.fps_note,
        "source_says": facts.says,
        "other_attributes": {key: value for key, value in attributes.items() if key not in _NAMED},
    }
    info |= _judgement(facts) | {key: value for key, value in optional.items() if value}
    text = json.dumps(_without_nan(info), indent=1, ensure_ascii=False, allow_nan=False)
    work.folder.write("metadata/info.json", f"{text}\n".encode("utf-8", "backslashreplace"))


def gather(work: ExtractionContext, performance: Performance, founds: Iterable[ModalityResult]) -> Metadata:
    """Count frames and holes, work out the frame rate, and compare names; needs no picture."""
    founds = list(founds)
    facts = Metadata(
        absent=tuple(found.modality.value for found in founds if not found.stored),
        left_out=tuple(item for found in founds for item in found.left_out),
        says=_source_says(work, performance),
    )
    facts.warnings += [note for found in founds for note in found.notes]
    facts.stored = _stored_frames(work, facts, any(found.modality is Modality.IMAGES for found in founds))
    union = set().union(*facts.stored.values())
    images = next((found.frames for found in founds if found.modality is Modality.IMAGES), {})
    for camera, frames in sorted(images.items()):
        facts.cameras[camera] = len(frames)
        if missing := sorted(union - set(frames)):
            facts.missing_frames[camera] = missing
    facts.frames = max(facts.cameras.values(), default=0)
    _rate(work, facts, max(union, default=-1) + 1)
    return facts


def _stored_frames(work: ExtractionContext, facts: Metadata, images: bool) -> dict[str, frozenset[int]]:
    """Return the frames of the cameras with images, names only: of those chosen for images, and of one more.

    The one more tells of a frame that all chosen ones lack, and how long the performance is. All the others
    would tell no more, and in a remote file each list of names has to be fetched.
    """
    raw = work.source.raw
    stored: dict[str, frozenset[int]] = {}
    if raw is None:
        return stored
    try:
        facts.warnings += raw.cameras.strange
        having = raw.cameras.having("color")
        chosen = work.cameras & set(having) if images else set()
        others = sorted(set(having) - chosen, key=lambda camera: (camera != FRONT_CAMERA, camera))
        for camera in sorted(chosen | set(others[:1])):
            try:
                stored[camera] = frozenset(raw.frames("Camera", camera, "color").frames)
            except UnreadableData as refusal:
                facts.warnings.append(f"camera {camera}: {refusal.reason}")
    except UnreadableData as refusal:
        facts.warnings.append(refusal.reason)
    return stored


def _rate(work: ExtractionContext, facts: Metadata, frames: int) -> None:
    """Work out the frame rate from the last frame that any camera has and the seconds of sound."""
    try:
        sound = audio_shape(work.source.raw) if work.source.raw is not None else None
    except UnreadableData:  # the audio modality says so
        sound = None
    rate = frame_rate(frames, sound.seconds) if sound is not None else None
    if rate is not None:
        facts.fps, facts.fps_note = rate.fps, rate.note


def _attributes(work: ExtractionContext, *group: str) -> tuple[dict[str, object], list[str]]:
    """Return a group's attributes: those of the raw file, and those that only the anno file has."""
    merged: dict[str, object] = {}
    notes: list[str] = []
    for file in work.source.files:
        found, missing = file.attributes(*group)
        merged = found | merged
        notes += missing
    return merged, notes


def _source_says(work: ExtractionContext, performance: Performance) -> dict[str, object]:
    """Return the names in the attributes of each source file where they are not those of the performance."""
    expected = {"actor_id": performance.subject, "performance_part": performance.name}
    told: dict[str, object] = {}
    for file in work.source.files:
        attributes, _ = file.attributes()
        said = {key: attributes[key] for key in expected if attributes.get(key) is not None}
        told |= {key: value for key, value in said.items() if str(value).strip().zfill(4) != expected[key].zfill(4)}
    return told


def _judgement(facts: Metadata) -> dict[str, object]:
    """Return the verdict with what it rests on, as JSON values; nothing where none was given."""
    verdict, report = facts.verdict, facts.calibration
    if verdict is None:
        return {}
    told: dict[str, object] = {
        "verdict": verdict.level.value,
        "findings": [finding.as_json() for finding in verdict.findings],
        "absent_as_released": list(verdict.absent_as_released),
    }
    if report is not None:
        told["calibration"] = {"state": report.state.value, "checks": [check.as_json() for check in report.checks]}
    return told


def _some(values: dict[str, object], keys: tuple[str, ...]) -> dict[str, object]:
    return {key: values[key] for key in keys if key in values}


def _without_nan(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def give_verdict(
    work: ExtractionContext,
    performance: Performance,
    sources: Iterable[str],
    wanted_cameras: str | tuple[str, ...],
    wanted: Collection[str],
    facts: Metadata,
) -> None:
    """Fill in the verdict of what `gather` counted, and the report on the calibration where that is wanted."""
    facts.calibration = _calibration(work, facts) if Modality.CALIBRATION.value in wanted else None
    report = facts.calibration
    failed = [] if report is None else [f"{check.name}: {check.sentence}" for check in report.failures]
    facts.verdict = assess_completeness(
        ExtractionFacts(
            performance,
            tuple(sources),
            wanted_cameras,
            frozenset(map(Modality, wanted)),
            frozenset(map(Modality, facts.absent)),
            facts.stored if Modality.IMAGES.value in wanted else {},
            work.cameras,
            facts.left_out,
            facts.fps,
            facts.fps_note,
            failed,
            facts.says,
        )
    )


def _calibration(work: ExtractionContext, facts: Metadata) -> CalibrationResult | None:
    """Return the checks of the calibration; None when there is none, which is the contract's to judge."""
    file = work.source.having("Calibration")
    if file is None:
        return None
    try:
        cameras, _ = read_calibration(file)
    except UnreadableData:  # the modality itself has left it out and says so
        return None
    matrices = {camera: {"K": one.K, "D": one.D, "RT": one.RT} for camera, one in cameras.items()}
    sizes = (image_size(each, part) for each in work.source.files[::-1] for part in ("color", "mask"))
    return check_calibration(matrices, next((size for size in sizes if size), None), work.cameras & facts.stored.keys())
