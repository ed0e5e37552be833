"""What ranges of a file will cost, before anything of it was seen: from the selection and from earlier files.

A modality's share is its bytes for all cameras per byte of the performance's files. Before a release's files
have taught us theirs, it is a careful guess; a wrong one costs the index of one file, because the index tells
exactly, and the way is changed then.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import Enum

from rm360_async.config import Settings
from rm360_async.domain.cameras.rig import rig
from rm360_async.domain.cameras.sets import resolve
from rm360_async.domain.names import Kind, Modality, Performance, Structure, kinds_needed
from rm360_async.domain.record import EarlierRecord, Record, SourceFile
from rm360_async.domain.release import released_content
from rm360_async.domain.state import source_changed
from rm360_async.system.log import logger

BY_CAMERA = frozenset({Modality.IMAGES, Modality.MASKS, Modality.KEYPOINTS2D, Modality.SCAN_MASKS})


class FetchMode(str, Enum):
    """How the files of a performance are downloaded.

    WHOLE files, only the RANGES that are needed, or COMPLETE_SPARSE: what sparse files lack, after ranges turned
    out too expensive.
    """

    WHOLE = "whole"
    RANGES = "ranges"
    COMPLETE_SPARSE = "complete sparse"


@dataclass(frozen=True)
class Selection:
    """What is wanted of a performance beyond what a published folder of it `has` (cameras, modalities) already."""

    cameras: str | tuple[str, ...]
    modalities: Collection[Modality]
    has: tuple[Collection[str], Collection[Modality]] = ((), ())

    @property
    def completes(self) -> bool:
        """Tell whether a published folder is added to."""
        return bool(self.has[1])


def cameras_of(structure: Structure, performance: Performance) -> tuple[str, ...]:
    """Return the cameras that the release has of a performance; the whole rig where that is not known."""
    held = released_content(structure, performance.name)
    return tuple(rig()) if held is None else held.cameras


log = logger(__name__)


@dataclass(frozen=True)
class SelectionPolicy:
    """What the config wants of performances."""

    settings: Settings

    def __str__(self) -> str:
        wanted = self.settings.extraction
        parts = (wanted.subjects, wanted.performances, wanted.cameras, [each.value for each in wanted.modalities])
        return repr(parts)

    def selection(self, performance: Performance, record: Record | None = None) -> Selection:
        """Return what is wanted of a performance, beyond what its published folder has."""
        wanted = self.settings.extraction
        alone = Selection(wanted.cameras, wanted.modalities)
        if record is None:
            return alone
        modalities = tuple(each for each in Modality if each in wanted.modalities or each in _modalities(record))
        cameras = _both(record.wanted_cameras, wanted.cameras)
        return replace(alone, cameras=cameras, modalities=modalities, has=self._had(performance, record))

    def anew(self, performance: Performance, record: Record) -> Selection:
        """Return what a published folder has and what is wanted beyond it, nothing of which can be taken over."""
        found = self.selection(performance, record)
        if found.cameras != "all":
            there = cameras_of(self.settings.google_drive.structure, performance)
            found = replace(found, cameras=tuple(sorted({*resolve(found.cameras, there), *record.cameras})))
        return replace(found, has=((), ()))

    def kinds(self, performance: Performance, record: Record | None = None) -> tuple[Kind, ...]:
        """Return which files are needed, those included that what a published folder has came from."""
        return kinds_needed(self.settings.google_drive.structure, self.selection(performance, record).modalities)

    def lacking(self, performance: Performance, record: Record | EarlierRecord | None) -> bool:
        """Tell whether a published folder lacks anything wanted that the release has; one not of ours never does."""
        if not isinstance(record, Record):
            return False
        wanted = self.settings.extraction
        had_cameras, had_modalities = self._had(performance, record)
        held = released_content(self.settings.google_drive.structure, performance.name)
        modalities = set(wanted.modalities) & (set(Modality) if held is None else held.modalities)
        if modalities - set(had_modalities):
            return True
        there = cameras_of(self.settings.google_drive.structure, performance)
        return bool(modalities & BY_CAMERA and set(resolve(wanted.cameras, there)) - set(had_cameras))

    def _had(self, performance: Performance, record: Record) -> tuple[Collection[str], Collection[Modality]]:
        there = cameras_of(self.settings.google_drive.structure, performance)
        chosen = record.wanted_cameras
        if isinstance(chosen, tuple) or chosen == "all":
            return set(resolve(chosen, there)) | set(record.cameras), _modalities(record)
        # a set such as ring:10 chose among the cameras that the file had
        cameras = set(record.cameras) or set(resolve(chosen, there))
        return cameras | (set(resolve(chosen, there)) if chosen == self.settings.extraction.cameras else set()), (
            _modalities(record)
        )


class Adding:
    """What is wanted of the performances in hand, and the published folders that some of them are added to."""

    def __init__(self, wanted: SelectionPolicy) -> None:
        self.wanted = wanted
        self._bases: dict[Performance, Record] = {}
        self._anew: set[Performance] = set()

    def begin(self, performance: Performance, record: Record) -> None:
        """Add to a published folder."""
        self._bases[performance] = record
        self._anew.discard(performance)

    def looked_up(self, performance: Performance, sources: tuple[SourceFile, ...]) -> None:
        """Take nothing over from a folder that came from other files than the remote has now."""
        record = self._bases.get(performance)
        if record is not None and is_of_other_files(record, sources):
            log.info(f"{performance} has changed on the remote: nothing of its folder is taken over")
            self._anew.add(performance)

    def selection(self, performance: Performance) -> Selection:
        """Return what is to be extracted."""
        record = self._bases.get(performance)
        if record is not None and performance in self._anew:
            return self.wanted.anew(performance, record)
        return self.wanted.selection(performance, record)

    def kinds(self, performance: Performance) -> tuple[Kind, ...]:
        """Return which files it is extracted from."""
        return self.wanted.kinds(performance, self._bases.get(performance))

    def end(self, performance: Performance) -> None:
        """Forget a folder that has been added to."""
        self._bases.pop(performance, None)


def is_of_other_files(record: Record, now: tuple[SourceFile, ...]) -> bool:
    """Tell whether a folder was extracted from other files than the remote has now, so that nothing may be mixed."""
    before = {source.path for source in record.sources}
    common = tuple(source for source in now if source.path in before)
    return not common or source_changed(record.sources, common)


def _modalities(record: Record) -> frozenset[Modality]:
    known = {modality.value: modality for modality in Modality}
    return frozenset(known[name] for name in record.wanted_modalities if name in known)


def _both(before: str | tuple[str, ...], now: str | tuple[str, ...]) -> str | tuple[str, ...]:
    """Return the cameras to extract so that none of those before is given up (sets keep theirs in any case)."""
    if "all" in (before, now):
        return "all"
    if isinstance(before, tuple) and isinstance(now, tuple):
        return tuple(sorted({*before, *now}))
    return now
