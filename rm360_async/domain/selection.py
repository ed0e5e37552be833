"""What is wanted of a performance: by the config, and beyond what its published folder has.

The config says what is wanted of every performance (`SelectionPolicy`). What one job extracts (`Selection`) depends
on the published folder that it completes, and on whether the remote's files are still those that the folder came
from: `selection_for` decides it, a pure function of these.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from enum import Enum

from rm360_async.domain.cameras.rig import S3_CAMERAS, rig
from rm360_async.domain.cameras.sets import is_chosen_among_present, resolve_cameras
from rm360_async.domain.names import BY_CAMERA, Modality, Performance, Structure
from rm360_async.domain.record import EarlierRecord, Record, SourceFile
from rm360_async.domain.release import camera_remarks, modality_remarks, obtainable_modalities, released_content
from rm360_async.domain.state import source_changed
from rm360_async.domain.terms import ALL, Selector, asks_for_all


class FetchMode(str, Enum):
    """How the files of a performance are downloaded: WHOLE, or only the RANGES that are needed."""

    WHOLE = "whole"
    RANGES = "ranges"


@dataclass(frozen=True)
class Selection:
    """What to extract of a performance; `has` are the cameras and modalities that its published folder has already."""

    cameras: Selector = ALL
    modalities: Collection[Modality] = ()
    has: tuple[Collection[str], Collection[Modality]] = ((), ())

    @property
    def completes(self) -> bool:
        """Return True if a published folder is completed."""
        return bool(self.has[1])


@dataclass(frozen=True)
class SelectionPolicy:
    """What the config wants: of which performances, and what of each."""

    subjects: Selector
    performances: Selector
    cameras: Selector
    modalities: tuple[Modality, ...]
    structure: Structure

    def fingerprint(self) -> str:
        """Return a text that differs if the config wants something else; the ledger keeps it between runs.

        It does so too if a set such as ring:10 chooses other cameras of the rig, or of the 38 of s3_all, than before.
        """
        wanted = repr((self.subjects, self.performances, self.cameras, [each.value for each in self.modalities]))
        if not is_chosen_among_present(self.cameras):
            return wanted
        return f"{wanted} {[resolve_cameras(self.cameras, pool) for pool in (rig(), S3_CAMERAS)]}"

    def is_obtainable(self, performance: Performance) -> bool:
        """Return True if the release has anything of what is wanted of a performance."""
        return bool(obtainable_modalities(self.structure, performance.name, self.modalities, self.cameras))

    def unmet(self, performances: Iterable[Performance]) -> list[str]:
        """Return a line for each kind of performance that was released without something asked for explicitly.

        The default, all cameras and all modalities, asks for what there is.
        """
        performances = list(performances)
        lines: list[str] = []
        if not asks_for_all(self.cameras) and not BY_CAMERA.isdisjoint(self.modalities):
            lines += camera_remarks(self.structure, performances, self.cameras)
        if set(self.modalities) != set(Modality):
            lines += modality_remarks(self.structure, performances, self.modalities)
        return lines

    def is_lacking(self, performance: Performance, record: Record | EarlierRecord | None) -> bool:
        """Return True if a published folder lacks something that is wanted and released.

        A folder that another tool or version published never lacks anything: it is left alone.
        """
        if not isinstance(record, Record):
            return False
        had_cameras, had_modalities = _published(self, performance, record)
        released = released_content(self.structure, performance.name)
        modalities = set(self.modalities) & (set(Modality) if released is None else released.modalities)
        if modalities - set(had_modalities):
            return True
        cameras = resolve_cameras(self.cameras, cameras_of(self.structure, performance))
        return bool(modalities & BY_CAMERA and set(cameras) - set(had_cameras))


def selection_for(
    policy: SelectionPolicy,
    performance: Performance,
    previous: Record | None = None,
    sources: tuple[SourceFile, ...] = (),
) -> Selection:
    """Return what to extract of a performance, beyond what its published folder (`previous`) has.

    `sources` are the remote's files as they are now, if known: if the folder came from other ones, nothing of it
    may be reused, and what it has is extracted again beside what is wanted.
    """
    wanted = Selection(policy.cameras, policy.modalities)
    if previous is None:
        return wanted
    had = _modalities(previous)
    modalities = tuple(each for each in Modality if each in policy.modalities or each in had)
    wanted = replace(wanted, cameras=_union(previous.wanted_cameras, policy.cameras), modalities=modalities)
    if not (sources and is_of_other_files(previous, sources)):
        return replace(wanted, has=_published(policy, performance, previous))
    if wanted.cameras == "all":
        return wanted
    released = cameras_of(policy.structure, performance)
    return replace(wanted, cameras=tuple(sorted({*resolve_cameras(wanted.cameras, released), *previous.cameras})))


def is_of_other_files(record: Record, sources: tuple[SourceFile, ...]) -> bool:
    """Return True if a folder was extracted from other files than `sources`, so that the two may not be mixed."""
    before = {source.path for source in record.sources}
    common = tuple(source for source in sources if source.path in before)
    return not common or source_changed(record.sources, common)


def cameras_of(structure: Structure, performance: Performance) -> tuple[str, ...]:
    """Return the cameras that were released of a performance; the whole rig if that is not known."""
    released = released_content(structure, performance.name)
    return tuple(rig()) if released is None else released.cameras


def _published(
    policy: SelectionPolicy, performance: Performance, record: Record
) -> tuple[Collection[str], Collection[Modality]]:
    """Return the cameras and modalities that a published folder has."""
    released, modalities = cameras_of(policy.structure, performance), _modalities(record)
    chosen = set(resolve_cameras(record.wanted_cameras, released))
    if isinstance(record.wanted_cameras, tuple) or record.wanted_cameras == "all":
        return chosen | set(record.cameras), modalities
    # a set such as ring:10 chose among the cameras that the file had
    cameras = {*record.resolved_cameras, *record.cameras} or chosen
    return cameras | (chosen if record.wanted_cameras == policy.cameras else set()), modalities


def chooses_otherwise_now(record: Record | EarlierRecord | None, cameras: Selector) -> bool:
    """Return True if a set of cameras (ring:10) would choose others now than for this published folder, of the same."""
    if not isinstance(record, Record) or record.wanted_cameras != cameras or not record.camera_pool:
        return False
    return not set(resolve_cameras(cameras, record.camera_pool)) <= set(record.resolved_cameras)


def _modalities(record: Record) -> frozenset[Modality]:
    known = {modality.value: modality for modality in Modality}
    return frozenset(known[name] for name in record.wanted_modalities if name in known)


def _union(before: Selector, now: Selector) -> Selector:
    """Return the cameras to extract so that none of `before` is lost (a set keeps its cameras in any case)."""
    if "all" in (before, now):
        return "all"
    if isinstance(before, tuple) and isinstance(now, tuple):
        return tuple(sorted({*before, *now}))
    return now
