"""What the releases are known to hold, so that absent as released differs from lost."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import PurePosixPath

from rm360_async.domain.cameras.rig import FRONT_CAMERA, S3_CAMERAS, rig
from rm360_async.domain.cameras.sets import explicitly_selected, is_chosen_among_present, resolve_cameras
from rm360_async.domain.names import BY_CAMERA, Kind, Modality, Performance, Structure, is_performance
from rm360_async.domain.terms import Selector

MAX_IDS_SHOWN = 24
USUAL_RATES = (30.0, 15.0)
"""Frames a second of the releases."""
RATE_TOLERANCE = 0.05
"""A measured rate that differs from a usual one by at most this share counts as the usual one."""

_ALWAYS = frozenset({Modality.METADATA, Modality.CALIBRATION, Modality.IMAGES})
_ANNOTATED = _ALWAYS | {Modality.MASKS, Modality.KEYPOINTS2D, Modality.KEYPOINTS3D}
_WITH_MODELS = _ANNOTATED | {Modality.FLAME, Modality.UV_TEXTURES, Modality.SCAN, Modality.SCAN_MASKS}
_SOUND = frozenset({Modality.AUDIO})


@dataclass(frozen=True)
class ReleasedContent:
    """What a release holds of one kind of performance; `fps` is None if there is no sound.

    `key_frames` is True if only chosen frames were released, so that their numbers may have gaps.
    """

    cameras: tuple[str, ...]
    modalities: frozenset[Modality]
    fps: float | None = None
    key_frames: bool = False


class Absence(str, Enum):
    """The reason why a camera has no images in a folder."""

    NOT_RELEASED = "not released"
    NOT_WANTED = "not wanted"
    LOST = "lost"
    UNKNOWN = "absent"


@dataclass(frozen=True)
class FrameRate:
    """Frames a second, and a note if the number is not a usual one."""

    fps: float
    note: str = ""


@cache
def released_content(structure: Structure, name: str) -> ReleasedContent | None:
    """Return what the release of a layout holds of a performance; None if the name is not a performance's."""
    if not is_performance(name):
        return None
    every = tuple(rig())
    is_speech = name[0] == "s"
    if structure is Structure.PAIR:
        if is_speech:
            return ReleasedContent(every, _ANNOTATED | _SOUND, 30.0)
        return ReleasedContent(every, _WITH_MODELS if name[0] == "e" else _ANNOTATED)
    if not is_speech:
        return ReleasedContent(every, _ALWAYS, key_frames=True)
    if name == "s3_all":
        return ReleasedContent(S3_CAMERAS, _ALWAYS | _SOUND, 15.0)
    return ReleasedContent((FRONT_CAMERA,), _ALWAYS | _SOUND, 30.0)


def possible_layouts(paths: Iterable[str]) -> tuple[Structure, ...]:
    """Return the layout of source files by their paths; both if the path of a single raw file does not tell."""
    parts = [PurePosixPath(path).parts for path in paths]
    grandparents = {each[-3] for each in parts if len(each) >= 3}
    if grandparents & {kind.value for kind in Kind} or any(each and each[-1].endswith("_anno.smc") for each in parts):
        return (Structure.PAIR,)
    is_remote_path = any(len(each) == 2 for each in parts)  # `0018/0018_s1_all_raw.smc`: below a remote's root
    return (Structure.SINGLE,) if is_remote_path else (Structure.SINGLE, Structure.PAIR)


def released_content_of(name: str, sources: Iterable[str], cameras: Iterable[str]) -> ReleasedContent | None:
    """Return what the release holds of a performance, by the paths of its files and the cameras that it has."""
    contents = [released_content(layout, name) for layout in possible_layouts(sources)]
    known = [content for content in contents if content is not None]
    present = set(cameras)
    return next((content for content in known if present <= set(content.cameras)), known[-1] if known else None)


def absence_of_camera(camera: str, released: ReleasedContent | None, wanted: Selector) -> Absence:
    """Return why a camera has no images in a folder for which the cameras `wanted` were selected."""
    if released is None:
        return Absence.UNKNOWN
    if camera not in released.cameras:
        return Absence.NOT_RELEASED
    return Absence.LOST if camera in explicitly_selected(wanted, released.cameras) else Absence.NOT_WANTED


def obtainable_modalities(
    structure: Structure, name: str, modalities: Collection[Modality], cameras: Selector
) -> frozenset[Modality]:
    """Return those of `modalities` of which the release has anything for these cameras; all if it is not known."""
    released = released_content(structure, name)
    if released is None:
        return frozenset(modalities)
    obtainable = released.modalities & frozenset(modalities)
    return obtainable if resolve_cameras(cameras, released.cameras) else obtainable - BY_CAMERA


def modality_remarks(
    structure: Structure, performances: Iterable[Performance], modalities: Collection[Modality]
) -> list[str]:
    """Return a line for each kind of performance that was released without some of the wanted modalities."""
    names_by_remark: dict[str, list[str]] = {}
    for name in dict.fromkeys(performance.name for performance in performances):
        released = released_content(structure, name)
        missing = [] if released is None else [each.value for each in modalities if each not in released.modalities]
        if missing:
            names_by_remark.setdefault(f"released without {', '.join(missing)}", []).append(name)
    return [f"{', '.join(names)}: {remark}" for remark, names in names_by_remark.items()]


def camera_remarks(structure: Structure, performances: Iterable[Performance], wanted: Selector) -> list[str]:
    """Return a line for each kind of performance of which the release does not hold all wanted cameras."""
    names_by_remark: dict[str, list[str]] = {}
    for name in dict.fromkeys(performance.name for performance in performances):
        released = released_content(structure, name)
        remark = _camera_remark(released, wanted) if released is not None else ""
        if remark:
            names_by_remark.setdefault(remark, []).append(name)
    return [f"{', '.join(names)}: {remark}" for remark, names in names_by_remark.items()]


def _camera_remark(released: ReleasedContent, wanted: Selector) -> str:
    available = resolve_cameras(wanted, released.cameras)
    requested = wanted if isinstance(wanted, tuple) else resolve_cameras(wanted, rig())
    if len(available) >= len(requested):
        return ""
    adjective = "" if wanted == "all" else "wanted "
    ids = f" ({_ids_text(available)})" if available else ""
    remark = f"{len(available)} of the {len(requested)} {adjective}cameras{ids}"
    if wanted == "all":
        return f"{remark}, as released"
    remark += f"; the release has only {len(released.cameras)}"
    if is_chosen_among_present(wanted) and len(explicitly_selected(wanted, tuple(rig()))) < len(requested):
        return remark
    return f"{remark}, not {_ids_text(camera for camera in requested if camera not in released.cameras)}"


def _ids_text(cameras: Iterable[str]) -> str:
    ids = list(cameras)
    more = f" ... ({len(ids)} in all)" if len(ids) > MAX_IDS_SHOWN else ""
    return " ".join(ids[:MAX_IDS_SHOWN]) + more


def frame_rate(frames: int, seconds: float) -> FrameRate | None:
    """Return frames over seconds of sound, snapped to 30 or 15; None if either is 0.

    `frames` is the last frame's number plus one, so that missing frames do not look like another rate.
    """
    if frames <= 0 or seconds <= 0:
        return None
    measured = frames / seconds
    usual = next((rate for rate in USUAL_RATES if abs(measured / rate - 1) <= RATE_TOLERANCE), None)
    if usual is not None:
        return FrameRate(usual)
    note = f"unexpected frame rate {measured:.3g} fps ({frames} frames, {seconds:.2f} s of audio); expected 30 or 15"
    return FrameRate(round(measured, 4), note)
