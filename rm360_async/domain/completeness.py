"""Is an extracted performance complete, complete as released, or damaged, and with what?

Theory of operation: what the release holds of this kind of performance is the contract. What was wanted, and is
neither here nor in the contract, is absent as released; what was wanted and is in the contract must be here.
Frames are numbered from 0 without gaps in every camera, except where only key frames were released: there a
camera must have the frames that any other has. When a path does not tell the release, the one that the file fits
best judges it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from rm360_async.domain.cameras.rig import rig
from rm360_async.domain.names import RAW_ONLY, Modality, Performance, Structure, number_ranges
from rm360_async.domain.record import LeftOut
from rm360_async.domain.release import (
    CameraSelection,
    ReleasedContent,
    explicitly_selected,
    possible_layouts,
    released_content,
)

_BY_CAMERA = frozenset({Modality.IMAGES, Modality.MASKS, Modality.KEYPOINTS2D, Modality.SCAN_MASKS})
_CAMERAS_NAMED = 8
_LONGEST = 600


class CompletenessLevel(str, Enum):
    """The verdict in a word."""

    COMPLETE = "complete"
    AS_RELEASED = "complete as released"
    DAMAGED = "damaged"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: the check that found it, and a sentence."""

    check: str
    what: str

    def __str__(self) -> str:
        return f"{self.check}: {self.what}"


@dataclass(frozen=True)
class Completeness:
    """The word, what is wrong, and what is absent because the release does not have it."""

    word: CompletenessLevel
    findings: tuple[Finding, ...] = ()
    as_released: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = "; ".join([self.word.value, *map(str, self.findings)]).replace("; ", ": ", 1)
        return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."


@dataclass(frozen=True)
class ExtractionFacts:
    """What was asked for and what was found in the source.

    `frames` has the frames in the source's index of every camera with images, `chosen` the cameras that were
    extracted; `absent` are modalities of which the source holds nothing; `sources` are paths; `calibration`
    has a sentence for each check that failed; `says` the source's own names where they are others.
    """

    performance: Performance
    sources: tuple[str, ...]
    wanted_cameras: CameraSelection = "all"
    wanted: frozenset[Modality] = frozenset(Modality)
    absent: frozenset[Modality] = frozenset()
    frames: Mapping[str, Collection[int]] = field(default_factory=dict)
    chosen: Collection[str] = ()
    left_out: Sequence[LeftOut] = ()
    fps: float | None = None
    fps_note: str = ""
    calibration: Sequence[str] = ()
    says: Mapping[str, object] = field(default_factory=dict)


def assess_completeness(found: ExtractionFacts) -> Completeness:
    """Return the verdict on an extraction, by the release whose layout it is of."""
    verdicts = [_judge(found, layout) for layout in possible_layouts(found.sources)]
    return min(verdicts, key=lambda verdict: len(verdict.findings))


def _judge(found: ExtractionFacts, layout: Structure) -> Completeness:
    held = released_content(layout, found.performance.name)
    promised = frozenset[Modality]() if held is None else held.modalities & _in_files(found.sources, layout)
    findings = [
        *(Finding("identity", f"the source says {key} {value!r}") for key, value in list(found.says.items())[:1]),
        *_left_out(found.left_out),
        *(_lost(found, held, promised) if held is not None else ()),
        *_frame_findings(found, held),
        *_rate(found, held),
        *(Finding("calibration", sentence) for sentence in found.calibration),
    ]
    as_released = tuple(_as_released(found, held, promised)) if held is not None else ()
    word = (
        CompletenessLevel.DAMAGED
        if findings
        else CompletenessLevel.AS_RELEASED
        if as_released
        else CompletenessLevel.COMPLETE
    )
    return Completeness(word, tuple(findings), as_released)


def _in_files(sources: tuple[str, ...], layout: Structure) -> frozenset[Modality]:
    """Return what the files at hand can hold: one file of a pair holds its own part only."""
    every = frozenset(Modality)
    if layout is Structure.SINGLE or len(sources) > 1:
        return every
    anno = any(path.endswith("_anno.smc") for path in sources)
    return every - RAW_ONLY if anno else RAW_ONLY | {Modality.METADATA}


def _left_out(left_out: Sequence[LeftOut]) -> Iterable[Finding]:
    if left_out:
        yield Finding("left out", f"{len(left_out)} broken in the source, first {left_out[0]}")


def _lost(found: ExtractionFacts, held: ReleasedContent, promised: frozenset[Modality]) -> Iterable[Finding]:
    """Yield what is wanted and released, but not in the source."""
    lost = found.absent & found.wanted & promised
    if found.wanted_cameras != "all":  # those of the chosen cameras may be absent without any loss
        lost -= _BY_CAMERA
    if lost:
        names = ", ".join(modality.value for modality in Modality if modality in lost)
        yield Finding("modalities", f"{names} released, but not in the source")
    if Modality.IMAGES not in found.wanted & promised:
        return
    broken = {item.camera for item in found.left_out if item.modality == Modality.IMAGES.value}
    gone = explicitly_selected(found.wanted_cameras, held.cameras) - set(found.frames) - broken
    if gone:
        yield Finding("cameras", f"{_cameras(sorted(gone), held.cameras)} released, but not in the source")


def _frame_findings(found: ExtractionFacts, held: ReleasedContent | None) -> Iterable[Finding]:
    """Yield frames missing inside a camera's own range (gaps) and cameras that end before the others (counts)."""
    every = set().union(*found.frames.values())
    end = max(every, default=-1)
    expected = every if held is not None and held.key_frames else set(range(end + 1))
    gaps: dict[str, list[str]] = {}
    short: dict[str, list[str]] = {}
    for camera in sorted(set(found.chosen) & set(found.frames)):
        frames = set(found.frames[camera])
        last = max(frames, default=-1)
        if holes := [frame for frame in expected - frames if frame < last]:
            plural = "frames" if len(holes) > 1 else "frame"
            gaps.setdefault(f"without {plural} {number_ranges(holes)}", []).append(camera)
        if last < end or not frames:
            shown = len([frame for frame in frames if frame in expected])
            text = f"with {shown} of {len(expected)} frames, the last {last}" if frames else "without any frame"
            short.setdefault(text, []).append(camera)
    yield from _by_cameras("gaps", gaps, found.chosen)
    yield from _by_cameras("frame counts", short, found.chosen)


def _by_cameras(check: str, what: Mapping[str, list[str]], every: Collection[str]) -> Iterable[Finding]:
    for text, cameras in what.items():
        yield Finding(check, f"{_cameras(cameras, every)} {text}")


def _rate(found: ExtractionFacts, held: ReleasedContent | None) -> Iterable[Finding]:
    if found.fps_note:
        yield Finding("frame rate", found.fps_note)
    elif found.fps is not None and held is not None and held.fps not in (None, found.fps):
        what = f"{found.fps:g} frames a second by its sound, where the release has {held.fps:g}"
        yield Finding("frame rate", what)


def _as_released(found: ExtractionFacts, held: ReleasedContent, promised: frozenset[Modality]) -> Iterable[str]:
    """Yield what is wanted, and absent because the release does not have it, or not in the files at hand."""
    missing = found.absent & found.wanted - promised
    for modality in (each for each in Modality if each in missing):
        yield modality.value + (" (in the other file of the pair)" if modality in held.modalities else "")
    if Modality.IMAGES in found.wanted:
        lacking = sorted(
            explicitly_selected(found.wanted_cameras, tuple(rig())) - set(held.cameras) - set(found.frames)
        )
        if lacking:
            yield f"images of {_cameras(lacking, rig())}"


def _cameras(cameras: Sequence[str], every: Collection[str]) -> str:
    if len(cameras) == 1:
        return f"cam_{cameras[0]}"
    if len(cameras) == len(every):
        return f"all {len(cameras)} cameras"
    shown = " ".join(cameras[:_CAMERAS_NAMED])
    return f"{len(cameras)} cameras ({shown}{' ...' if len(cameras) > _CAMERAS_NAMED else ''})"
