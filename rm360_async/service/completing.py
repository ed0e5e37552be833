"""What a published folder lacks of what is wanted now, and the selection that completes it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from rm360_async.catalog import Kind, Modality, Performance, kinds_needed
from rm360_async.config import Settings
from rm360_async.errors import Cause, Fault
from rm360_async.geometry.camera_sets import resolve
from rm360_async.logs import logger
from rm360_async.plan import source_changed
from rm360_async.ranges.prediction import BY_CAMERA, Selection, cameras_of
from rm360_async.record import EarlierRecord, Record, SourceFile, read_marker
from rm360_async.release import holding

log = logger(__name__)


def record_of(final: Path) -> Record | EarlierRecord | None:
    """Return what a folder's marker says; Fault(IN_THE_WAY) when it cannot be read, for then nobody may replace it."""
    try:
        return read_marker(final)
    except OSError as error:
        hint = "check its owner, mode and disk, then `retry`"
        raise Fault(Cause.IN_THE_WAY, f"{final} cannot be read: {error.strerror}", hint) from error


@dataclass(frozen=True)
class Wanted:
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
        held = holding(self.settings.google_drive.structure, performance.name)
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

    def __init__(self, wanted: Wanted) -> None:
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
