"""What ranges of a file will cost, before anything of it was seen: from the selection and from earlier files.

A modality's share is its bytes for all cameras per byte of the performance's files. Before a release's files
have taught us theirs, it is a careful guess; a wrong one costs the index of one file, because the index tells
exactly, and the way is changed then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rm360_async.domain.cameras.sets import resolve_cameras
from rm360_async.domain.names import Modality, Performance, Structure
from rm360_async.domain.record import Record
from rm360_async.domain.release import released_content
from rm360_async.domain.selection import BY_CAMERA, FetchMode, Selection, cameras_of
from rm360_async.download.ranges.cost import MAX_SHARE

_GUESSED = {
    Modality.IMAGES: 0.95,
    Modality.MASKS: 0.10,
    Modality.KEYPOINTS2D: 0.02,
    Modality.KEYPOINTS3D: 0.005,
    Modality.AUDIO: 0.01,
    Modality.FLAME: 0.10,
    Modality.UV_TEXTURES: 0.10,
    Modality.SCAN: 0.05,
    Modality.SCAN_MASKS: 0.01,
}
_INDEX_SHARE, _INDEX_BYTES = 0.005, 2**20
_TOO_SMALL = 32 * 2**20
"""A file of this size is here before its index would be."""
_SPARE = 1.1
"""Of the staging that is leased: a prediction that is a little short must not cost another wait."""


@dataclass(frozen=True)
class Estimate:
    """The bytes that each way would fetch of the files of a performance.

    `completes`: a published folder is added to; then ranges fetch nothing twice, and a whole file nearly all.
    """

    whole_bytes: int
    range_bytes: int
    completes: bool = False

    def fetch_mode(self, fetch_setting: str) -> FetchMode:
        """Return the way to go: the fetch_setting ("whole", "ranges"), or for "auto" what pays."""
        if fetch_setting != "auto":
            return FetchMode(fetch_setting)
        pays = self.completes or (self.whole_bytes > _TOO_SMALL and self.range_bytes <= MAX_SHARE * self.whole_bytes)
        return FetchMode.RANGES if pays else FetchMode.WHOLE

    def staging_bytes(self, fetch_setting: str) -> int:
        """Return the bytes of disk that the way needs in staging."""
        return (
            self.whole_bytes
            if self.fetch_mode(fetch_setting) is FetchMode.WHOLE
            else min(self.whole_bytes, int(self.range_bytes * _SPARE))
        )


def share_key(structure: Structure, performance: Performance, modality: Modality) -> str:
    """Return the name under which the share of a modality is learned."""
    return f"share {structure.value} {performance.family} {modality.value}"


def full_sizes(structure: Structure, performance: Performance, record: Record) -> dict[str, int]:
    """Return the bytes that each modality of a published folder would have with all cameras, by `share_key`."""
    there = len(cameras_of(structure, performance))
    scale = there / record.cameras_extracted if record.cameras_extracted else 0.0
    sizes = {modality: record.sizes.get(modality.value, 0) for modality in Modality}
    by_all = {each: int(size * (scale if each in BY_CAMERA else 1)) for each, size in sizes.items()}
    return {share_key(structure, performance, each): size for each, size in by_all.items() if size}


def estimate_sizes(
    structure: Structure, performance: Performance, selection: Selection, size: int, learned: Mapping[str, float]
) -> Estimate:
    """Return what fetching `size` bytes of files whole, or the selection's ranges of them, would cost."""
    there = cameras_of(structure, performance)
    chosen = set(resolve_cameras(selection.cameras, there)) & set(there)
    has_cameras, has_modalities = selection.has
    held = released_content(structure, performance.name)
    share = 0.0
    for modality in (each for each in selection.modalities if held is None or each in held.modalities):
        of_all = learned.get(share_key(structure, performance, modality), _GUESSED.get(modality, 0.0))
        lacking = chosen - set(has_cameras) if modality in has_modalities else chosen
        if modality in BY_CAMERA:
            share += of_all * len(lacking) / max(1, len(there))
        elif modality not in has_modalities:
            share += of_all
    ranges = min(size, int(size * (share + _INDEX_SHARE)) + _INDEX_BYTES)
    return Estimate(size, ranges, selection.completes)
