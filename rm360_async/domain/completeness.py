"""Decide whether an extracted performance is complete, complete as released, or damaged, and why.

Theory of operation: what the release holds of this kind of performance is the contract. What was wanted, and is
neither in the source nor in the contract, is absent as released; what was wanted and is in the contract must be in
the source. Frames are numbered from 0 without gaps in every camera, except where only key frames were released: there
a camera must have the frames that any other has. If a path does not tell the release, the one that the file fits best
applies.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rm360_async.domain.cameras.rig import rig
from rm360_async.domain.cameras.sets import explicitly_selected
from rm360_async.domain.formatting import number_ranges
from rm360_async.domain.names import BY_CAMERA, RAW_ONLY, Modality, Performance, Structure
from rm360_async.domain.record import CompletenessLevel, LeftOut
from rm360_async.domain.release import ReleasedContent, possible_layouts, released_content
from rm360_async.domain.terms import ALL, Selector, asks_for_all

MAX_IDS_SHOWN = 8
MAX_TEXT_CHARS = 600


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: the name of the check that found it, and a sentence."""

    check: str
    message: str

    def __str__(self) -> str:
        return f"{self.check}: {self.message}"

    def as_json(self) -> dict[str, str]:
        """Return the finding as it stands in info.json."""
        return {"check": self.check, "what": self.message}


@dataclass(frozen=True)
class Completeness:
    """The level, what is wrong, and what is absent because the release does not have it."""

    level: CompletenessLevel
    findings: tuple[Finding, ...] = ()
    absent_as_released: tuple[str, ...] = ()
    not_released: tuple[str, ...] = ()
    """Of these, what was asked for explicitly: not by "all"."""

    def __str__(self) -> str:
        unmet = [f"asked for and not released: {', '.join(self.not_released)}"] if self.not_released else []
        text = "; ".join([self.level.value, *map(str, self.findings), *unmet]).replace("; ", ": ", 1)
        return text if len(text) <= MAX_TEXT_CHARS else f"{text[: MAX_TEXT_CHARS - 4]} ..."


@dataclass(frozen=True)
class ExtractionFacts:
    """What an extraction was asked for, and what its source holds."""

    performance: Performance
    sources: tuple[str, ...]
    """Paths of the source files, below the remote's root or local."""
    wanted_cameras: Selector = ALL
    wanted: frozenset[Modality] = frozenset(Modality)
    absent: frozenset[Modality] = frozenset()
    """Modalities of which the source holds nothing."""
    frames: Mapping[str, Collection[int]] = field(default_factory=dict)
    """The frames in the source's index, of every camera with images."""
    extracted_cameras: Collection[str] = ()
    left_out: Sequence[LeftOut] = ()
    fps: float | None = None
    fps_note: str = ""
    failed_checks: Sequence[str] = ()
    """A sentence for each check of the calibration that failed."""
    other_names: Mapping[str, object] = field(default_factory=dict)
    """Attributes of the source that name another subject or performance."""


def assess_completeness(facts: ExtractionFacts) -> Completeness:
    """Return the completeness of an extraction, by the release whose layout its files have."""
    results = [_assess(facts, layout) for layout in possible_layouts(facts.sources)]
    return min(results, key=lambda result: len(result.findings))


def _assess(facts: ExtractionFacts, layout: Structure) -> Completeness:
    released = released_content(layout, facts.performance.name)
    promised = frozenset[Modality]()
    if released is not None:
        promised = released.modalities & _modalities_in_files(facts.sources, layout)
    findings = [
        *(
            Finding("identity", f"the source says {key} {value!r}")
            for key, value in list(facts.other_names.items())[:1]
        ),
        *_left_out_findings(facts.left_out),
        *(_loss_findings(facts, released, promised) if released is not None else ()),
        *_frame_findings(facts, released),
        *_rate_findings(facts, released),
        *(Finding("calibration", sentence) for sentence in facts.failed_checks),
    ]
    as_released = tuple(_absent_as_released(facts, released, promised)) if released is not None else ()
    level = CompletenessLevel.AS_RELEASED if as_released else CompletenessLevel.COMPLETE
    if findings:
        level = CompletenessLevel.DAMAGED
    return Completeness(level, tuple(findings), as_released, tuple(_not_released(facts, released)))


def _modalities_in_files(sources: tuple[str, ...], layout: Structure) -> frozenset[Modality]:
    """Return what the given files can hold: one file of a pair holds its own part only."""
    every = frozenset(Modality)
    if layout is Structure.SINGLE or len(sources) > 1:
        return every
    is_anno = any(path.endswith("_anno.smc") for path in sources)
    return every - RAW_ONLY if is_anno else RAW_ONLY | {Modality.METADATA}


def _left_out_findings(left_out: Sequence[LeftOut]) -> Iterable[Finding]:
    if left_out:
        yield Finding("left out", f"{len(left_out)} broken in the source, first {left_out[0]}")


def _loss_findings(
    facts: ExtractionFacts, released: ReleasedContent, promised: frozenset[Modality]
) -> Iterable[Finding]:
    """Yield what is wanted and released, but not in the source."""
    lost = facts.absent & facts.wanted & promised
    if facts.wanted_cameras != ALL:  # the modalities of the chosen cameras may be absent without any loss
        lost -= BY_CAMERA
    if lost:
        names = ", ".join(modality.value for modality in Modality if modality in lost)
        yield Finding("modalities", f"{names} released, but not in the source")
    if Modality.IMAGES not in facts.wanted & promised:
        return
    broken = {item.camera for item in facts.left_out if item.modality == Modality.IMAGES.value}
    lost_cameras = explicitly_selected(facts.wanted_cameras, released.cameras) - set(facts.frames) - broken
    if lost_cameras:
        text = _cameras_text(sorted(lost_cameras), released.cameras)
        yield Finding("cameras", f"{text} released, but not in the source")


def _frame_findings(facts: ExtractionFacts, released: ReleasedContent | None) -> Iterable[Finding]:
    """Yield frames missing inside a camera's own range (gaps) and cameras that end before the others (counts)."""
    all_frames = set().union(*facts.frames.values())
    end = max(all_frames, default=-1)
    expected = all_frames if released is not None and released.key_frames else set(range(end + 1))
    gaps: dict[str, list[str]] = {}
    counts: dict[str, list[str]] = {}
    for camera in sorted(set(facts.extracted_cameras) & set(facts.frames)):
        frames = set(facts.frames[camera])
        last = max(frames, default=-1)
        if missing := [frame for frame in expected - frames if frame < last]:
            plural = "frames" if len(missing) > 1 else "frame"
            gaps.setdefault(f"without {plural} {number_ranges(missing)}", []).append(camera)
        if last < end or not frames:
            count = len(frames & expected)
            text = f"with {count} of {len(expected)} frames, the last {last}" if frames else "without any frame"
            counts.setdefault(text, []).append(camera)
    yield from _findings_by_text("gaps", gaps, facts.extracted_cameras)
    yield from _findings_by_text("frame counts", counts, facts.extracted_cameras)


def _findings_by_text(
    check: str, cameras_by_text: Mapping[str, list[str]], every: Collection[str]
) -> Iterable[Finding]:
    for text, cameras in cameras_by_text.items():
        yield Finding(check, f"{_cameras_text(cameras, every)} {text}")


def _rate_findings(facts: ExtractionFacts, released: ReleasedContent | None) -> Iterable[Finding]:
    if facts.fps_note:
        yield Finding("frame rate", facts.fps_note)
    elif facts.fps is not None and released is not None and released.fps not in (None, facts.fps):
        text = f"{facts.fps:g} frames a second by its sound, where the release has {released.fps:g}"
        yield Finding("frame rate", text)


def _absent_as_released(
    facts: ExtractionFacts, released: ReleasedContent, promised: frozenset[Modality]
) -> Iterable[str]:
    """Yield what is wanted, and absent because the release or the given files do not have it."""
    missing = facts.absent & facts.wanted - promised
    for modality in (each for each in Modality if each in missing):
        yield modality.value + (" (in the other file of the pair)" if modality in released.modalities else "")
    if Modality.IMAGES in facts.wanted:
        wanted = explicitly_selected(facts.wanted_cameras, tuple(rig()))
        not_released = sorted(wanted - set(released.cameras) - set(facts.frames))
        if not_released:
            yield f"images of {_cameras_text(not_released, rig())}"


def _not_released(facts: ExtractionFacts, released: ReleasedContent | None) -> Iterable[str]:
    """Yield what was asked for by name, not by "all", and was never released."""
    if released is None:
        return
    if facts.wanted != frozenset(Modality):
        missing = facts.absent & facts.wanted - released.modalities
        yield from (each.value for each in Modality if each in missing)
    if not asks_for_all(facts.wanted_cameras) and not BY_CAMERA.isdisjoint(facts.wanted & released.modalities):
        wanted = explicitly_selected(facts.wanted_cameras, tuple(rig()))
        cameras = sorted(wanted - set(released.cameras) - set(facts.frames))
        if cameras:
            yield _cameras_text(cameras, rig())


def _cameras_text(cameras: Sequence[str], every: Collection[str]) -> str:
    if len(cameras) == 1:
        return f"cam_{cameras[0]}"
    if len(cameras) == len(every):
        return f"all {len(cameras)} cameras"
    shown = " ".join(cameras[:MAX_IDS_SHOWN])
    return f"{len(cameras)} cameras ({shown}{' ...' if len(cameras) > MAX_IDS_SHOWN else ''})"
