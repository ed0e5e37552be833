"""What ranges of a file will cost, before any of it was read: from the selection and from earlier files.

A modality's share is the bytes that it is written as for all cameras, per byte of the performance's files. Until files
of this release have been extracted it is a careful guess; a wrong guess costs the index of one file, because the index
tells the exact bytes, and then the fetch mode is changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rm360_async.domain.cameras.sets import resolve_cameras
from rm360_async.domain.names import BY_CAMERA, Modality, Performance, Structure
from rm360_async.domain.record import Record
from rm360_async.domain.release import released_content
from rm360_async.domain.selection import FetchMode, Selection, cameras_of
from rm360_async.download.ranges.cost import MAX_SHARE

_GUESSED_SHARES = {
    Modality.IMAGES: 0.95,
    Modality.MASKS: 0.10,
    Modality.KEYPOINTS2D: 0.02,
    Modality.KEYPOINTS3D: 0.005,
    Modality.FLAME: 0.10,
    Modality.UV_TEXTURES: 0.10,
    Modality.SCAN: 0.05,
    Modality.SCAN_MASKS: 0.01,
}
_AUDIO_BYTES_PER_SECOND, _IMAGE_BYTES = 384_000, 280_000
"""Of the release: two channels of float32 at 48 kHz, and the mean of its images. They give the guess for audio."""
_WRITTEN_PER_STORED = {Modality.AUDIO: 2.06}
"""Bytes written for each stored byte, where these differ: the audio is written as npz, as WAV, and as a small MP3."""
_INDEX_SHARE, _INDEX_BYTES = 0.005, 2**20
_SMALL_FILE_BYTES = 32 * 2**20
"""A file of this size is downloaded sooner than its index would be read."""
_SPOOL_MARGIN = 1.1
"""Of the spool that is reserved: a range estimate that is a little short must not cost another wait."""


@dataclass(frozen=True)
class Estimate:
    """The bytes of a performance's files that each fetch mode would download.

    `completes`: a published folder is added to; then ranges download nothing twice, and whole files nearly all of it.
    """

    whole_bytes: int
    range_bytes: int
    completes: bool = False
    written_bytes: int = 0
    """The bytes that the extraction adds to the published folder."""

    def fetch_mode(self, fetch_setting: str) -> FetchMode:
        """Return the mode that the setting names ("whole", "ranges"), or for "auto" the one that costs less."""
        if fetch_setting != "auto":
            return FetchMode(fetch_setting)
        is_small = self.whole_bytes <= _SMALL_FILE_BYTES
        pays = self.completes or (not is_small and self.range_bytes <= MAX_SHARE * self.whole_bytes)
        return FetchMode.RANGES if pays else FetchMode.WHOLE

    def download_bytes(self, fetch_setting: str) -> int:
        """Return the bytes that the mode downloads."""
        return self.whole_bytes if self.fetch_mode(fetch_setting) is FetchMode.WHOLE else self.range_bytes

    def staging_bytes(self, fetch_setting: str) -> int:
        """Return the bytes of disk that the mode needs in the spool."""
        if self.fetch_mode(fetch_setting) is FetchMode.WHOLE:
            return self.whole_bytes
        return min(self.whole_bytes, int(self.range_bytes * _SPOOL_MARGIN))


def share_key(structure: Structure, performance: Performance, modality: Modality) -> str:
    """Return the name under which the ledger keeps the share of a modality."""
    return f"share {structure.value} {performance.family} {modality.value}"


def full_sizes(structure: Structure, performance: Performance, record: Record) -> dict[str, int]:
    """Return the bytes that each modality of a published folder would have with all cameras, by `share_key`.

    They are scaled by the cameras that were wanted: a file that lacks some of them is like the next ones.
    """
    released = cameras_of(structure, performance)
    wanted = set(resolve_cameras(record.wanted_cameras, released)) & set(released)
    scale = max(1.0, len(released) / (max(len(wanted), record.cameras_extracted) or 1))
    sizes = {modality: record.sizes.get(modality.value, 0) for modality in Modality}
    scaled = {modality: int(size * (scale if modality in BY_CAMERA else 1)) for modality, size in sizes.items()}
    return {share_key(structure, performance, modality): size for modality, size in scaled.items() if size}


def estimate_sizes(
    structure: Structure, performance: Performance, selection: Selection, size: int, shares: Mapping[str, float]
) -> Estimate:
    """Return what downloading `size` bytes of files whole, or the selection's ranges of them, would cost.

    `shares`: those of earlier files, by `share_key`; a modality without one has a guessed share.
    """
    released = cameras_of(structure, performance)
    selected = set(resolve_cameras(selection.cameras, released)) & set(released)
    content = released_content(structure, performance.name)
    modalities = [each for each in selection.modalities if content is None or each in content.modalities]
    written = {
        modality: _written_share(structure, performance, modality, shares)
        * _missing_part(modality, selection, selected, len(released))
        for modality in modalities
    }
    stored = sum(share / _WRITTEN_PER_STORED.get(modality, 1.0) for modality, share in written.items())
    index = shares.get(index_key(structure, performance))
    index_bytes = size * _INDEX_SHARE + _INDEX_BYTES if index is None else size * index
    range_bytes = min(size, int(size * stored + index_bytes))
    return Estimate(size, range_bytes, selection.completes, int(size * sum(written.values())))


def index_key(structure: Structure, performance: Performance) -> str:
    """Return the name under which the ledger keeps the share of a file that ranges need beside the data itself."""
    return f"share {structure.value} {performance.family} index"


def index_bytes(record: Record, downloaded_bytes: int) -> int:
    """Return the bytes that ranges have needed beside the data, of which a folder has become."""
    sizes = {modality: record.sizes.get(modality.value, 0) for modality in Modality}
    stored = sum(size / _WRITTEN_PER_STORED.get(modality, 1.0) for modality, size in sizes.items())
    return max(0, downloaded_bytes - int(stored))


def _written_share(
    structure: Structure, performance: Performance, modality: Modality, shares: Mapping[str, float]
) -> float:
    """Return the bytes that all cameras of a modality are written as, per byte of the performance's files."""
    known = shares.get(share_key(structure, performance, modality))
    if known is not None:
        return known
    guess = _guessed_share(structure, performance, modality)
    if modality is Modality.IMAGES:  # what the others that were released leave
        others = set(Modality) - {Modality.IMAGES}
        content = released_content(structure, performance.name)
        others &= content.modalities if content is not None else others
        guess = max(0.0, 1 - sum(_guessed_share(structure, performance, each) for each in others))
    return guess * _WRITTEN_PER_STORED.get(modality, 1.0)


def _guessed_share(structure: Structure, performance: Performance, modality: Modality) -> float:
    content = released_content(structure, performance.name)
    if modality is not Modality.AUDIO or content is None or content.fps is None:
        return _GUESSED_SHARES.get(modality, 0.0)
    images = len(content.cameras) * content.fps * _IMAGE_BYTES
    return _AUDIO_BYTES_PER_SECOND / (images + _AUDIO_BYTES_PER_SECOND)


def _missing_part(modality: Modality, selection: Selection, selected: set[str], released: int) -> float:
    """Return how much of a modality, from 0 to 1, is missing in the published folder, if there is one.

    `selected`: the cameras that are selected, of the `released` cameras that the release has of the performance.
    """
    published_cameras, published_modalities = selection.has
    is_published = modality in published_modalities
    if modality not in BY_CAMERA:
        return 0.0 if is_published else 1.0
    missing = selected - set(published_cameras) if is_published else selected
    return len(missing) / max(1, released)
