"""What the releases are known to hold, so that absent as released differs from lost; pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import PurePosixPath

from rm360_async.domain.cameras.rig import FRONT_CAMERA, S3_CAMERAS, rig
from rm360_async.domain.cameras.sets import resolve_cameras
from rm360_async.domain.names import Kind, Modality, Performance, Structure, is_performance

CameraSelection = str | tuple[str, ...]
"""Cameras as a config or a record has them: "all", a named set, or ids."""

_ALWAYS = frozenset({Modality.METADATA, Modality.CALIBRATION, Modality.IMAGES})
_ANNOTATED = _ALWAYS | {Modality.MASKS, Modality.KEYPOINTS2D, Modality.KEYPOINTS3D}
_MODELLED = _ANNOTATED | {Modality.FLAME, Modality.UV_TEXTURES, Modality.SCAN, Modality.SCAN_MASKS}
_SOUND = frozenset({Modality.AUDIO})
_NAMED = 24
"""How many ids a remark names before it counts."""


@dataclass(frozen=True)
class ReleasedContent:
    """What a release holds of one kind of performance; `fps` is None where there is no sound.

    `key_frames`: only chosen frames were released, so numbers may have gaps.
    """

    cameras: tuple[str, ...]
    modalities: frozenset[Modality]
    fps: float | None = None
    key_frames: bool = False


class Absence(str, Enum):
    """Why a camera has no images in a folder."""

    NOT_RELEASED = "not released"
    NOT_WANTED = "not wanted"
    LOST = "lost"
    UNKNOWN = "absent"


@cache
def released_content(structure: Structure, name: str) -> ReleasedContent | None:
    """Return what the release of a layout holds of a performance, None for a name outside the grammar."""
    if not is_performance(name):
        return None
    every = tuple(rig())
    speech = name[0] == "s"
    if structure is Structure.PAIR:
        if speech:
            return ReleasedContent(every, _ANNOTATED | _SOUND, 30.0)
        return ReleasedContent(every, _MODELLED if name[0] == "e" else _ANNOTATED)
    if not speech:
        return ReleasedContent(every, _ALWAYS, key_frames=True)
    if name == "s3_all":
        return ReleasedContent(S3_CAMERAS, _ALWAYS | _SOUND, 15.0)
    return ReleasedContent((FRONT_CAMERA,), _ALWAYS | _SOUND, 30.0)


def possible_layouts(paths: Iterable[str]) -> tuple[Structure, ...]:
    """Return the layout that source files are of, by their paths; both when a raw file on its own does not tell."""
    parts = [PurePosixPath(path).parts for path in paths]
    folders = {each[-3] for each in parts if len(each) >= 3}
    if folders & {kind.value for kind in Kind} or any(each and each[-1].endswith("_anno.smc") for each in parts):
        return (Structure.PAIR,)
    remote = any(len(each) == 2 for each in parts)  # `0018/0018_s1_all_raw.smc`: below a remote's root
    return (Structure.SINGLE,) if remote else (Structure.SINGLE, Structure.PAIR)


def absence_of_camera(camera: str, held: ReleasedContent | None, wanted: CameraSelection) -> Absence:
    """Return why a camera has no images in a folder for which `wanted` was asked."""
    if held is None:
        return Absence.UNKNOWN
    if camera not in held.cameras:
        return Absence.NOT_RELEASED
    return Absence.LOST if camera in explicitly_selected(wanted, held.cameras) else Absence.NOT_WANTED


def explicitly_selected(wanted: CameraSelection, pool: tuple[str, ...]) -> frozenset[str]:
    """Return the cameras of the pool that were asked for by name or by a fixed set.

    Sets that are chosen among what is there (ring:N, front:N) ask for none in particular, unless for all.
    """
    chosen_there = isinstance(wanted, str) and wanted.startswith(("ring:", "front:"))
    chosen = resolve_cameras(wanted, pool)
    return frozenset() if chosen_there and len(chosen) < len(pool) else frozenset(chosen)


def camera_remarks(structure: Structure, performances: Iterable[Performance], wanted: CameraSelection) -> list[str]:
    """Return a line for each kind of performance of which the release does not hold all wanted cameras."""
    subjects: dict[str, int] = {}
    for each in performances:
        subjects[each.name] = subjects.get(each.name, 0) + 1
    lines: dict[str, list[str]] = {}
    for name in subjects:
        held = released_content(structure, name)
        line = _camera_remark(held, wanted) if held is not None else ""
        if line:
            lines.setdefault(line, []).append(name)
    return [f"{', '.join(names)}: {line}" for line, names in lines.items()]


def _camera_remark(held: ReleasedContent, wanted: CameraSelection) -> str:
    there = resolve_cameras(wanted, held.cameras)
    asked = resolve_cameras(wanted, rig())
    if isinstance(wanted, tuple):
        asked = wanted
    if len(there) >= len(asked):
        return ""
    what = "" if wanted == "all" else "wanted "
    kept = f" ({_ids(there)})" if there else ""
    line = f"{len(there)} of the {len(asked)} {what}cameras{kept}"
    if wanted == "all":
        return f"{line}, as released"
    lacking = [camera for camera in asked if camera not in held.cameras]
    chosen_there = isinstance(wanted, str) and not explicitly_selected(wanted, tuple(rig()))
    return f"{line}; the release has only {len(held.cameras)}" + ("" if chosen_there else f", not {_ids(lacking)}")


def _ids(cameras: Iterable[str]) -> str:
    ids = list(cameras)
    more = f" ... ({len(ids)} in all)" if len(ids) > _NAMED else ""
    return " ".join(ids[:_NAMED]) + more


def released_content_of(name: str, sources: Iterable[str], cameras: Iterable[str]) -> ReleasedContent | None:
    """Return what the release holds of a performance, by the paths of its files and the cameras that it has."""
    here = set(cameras)
    held = [
        each for each in (released_content(layout, name) for layout in possible_layouts(sources)) if each is not None
    ]
    return next((each for each in held if here <= set(each.cameras)), held[-1] if held else None)


USUAL_RATES = (30.0, 15.0)
RATE_TOLERANCE = 0.05
"""How far (relative) a measured rate may be from a usual one to be taken as it."""


@dataclass(frozen=True)
class FrameRate:
    """Frames a second, and a note when the number is not a usual one."""

    fps: float
    note: str = ""


def frame_rate(frames: int, seconds: float) -> FrameRate | None:
    """Return frames over seconds of sound, snapped to 30 or 15; None when either is nothing.

    `frames` is the last frame's number plus one, so that missing frames do not look like another rate.
    """
    if frames <= 0 or seconds <= 0:
        return None
    measured = frames / seconds
    usual = next((rate for rate in USUAL_RATES if abs(measured / rate - 1) <= RATE_TOLERANCE), None)
    if usual is not None:
        return FrameRate(usual)
    note = f"odd: {measured:.3g}; {frames} frames in {seconds:.2f} s of sound, neither 30 nor 15 a second"
    return FrameRate(round(measured, 4), note)
