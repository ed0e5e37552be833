"""What a published folder lacks of what is wanted now, and the selection that completes it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from rm360_async.catalog import Modality, Performance
from rm360_async.config import Settings
from rm360_async.geometry.camera_sets import resolve
from rm360_async.ranges.prediction import BY_CAMERA, Selection, cameras_of
from rm360_async.record import EarlierRecord, Record
from rm360_async.release import holding


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
