"""What a format is: units of work, how each is written, and how it proves itself.

To add a format: one module in `formats/` with a subclass of `Format` and an instance of it named FORMAT.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from rm360_async.dataset import PublishedPerformance
from rm360_async.domain.cameras.sets import resolve_cameras
from rm360_async.domain.names import frame_stem
from rm360_async.export.options import ExportOptions, select_frames

NOTICE = (
    "Made from RenderMe-360, which is given out under a signed agreement: this export falls under it and may not be "
    "passed on."
)
"""Every export carries this line."""
MAX_IDS_SHOWN = 12
Figures = Mapping[str, float | int | str]
"""What a check measured, by name; pixels, milliseconds and the like are in the names."""


class NotExportable(Exception):
    """A performance that a format cannot be made from, because it does not hold what the format needs; says what."""


class CheckFailed(Exception):
    """An export that does not say what its source says; it is not published."""


@dataclass(frozen=True, eq=False)
class Unit:
    """What is written, checked and published in one step: a performance, or one moment of it.

    `place` is its path below the output folder, `<subject>/<performance>[/frame_000000]`.
    """

    performance: PublishedPerformance
    place: str
    cameras: tuple[str, ...]
    frames: tuple[int, ...]
    options: ExportOptions

    @cached_property
    def views(self) -> tuple[tuple[str, int], ...]:
        """Return the pictures (camera, frame) that are there, frame by frame."""
        has_image = self.performance.has_image
        return tuple((camera, frame) for frame in self.frames for camera in self.cameras if has_image(camera, frame))

    @property
    def holes(self) -> tuple[tuple[str, int], ...]:
        """Return the pictures (camera, frame) that the source lacks."""
        every = ((camera, frame) for frame in self.frames for camera in self.cameras)
        views = set(self.views)
        return tuple(view for view in every if view not in views)


@dataclass
class Written:
    """What a format wrote: the number of pictures, and sentences about what was left out or chosen."""

    views: int
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ExportEstimate:
    """What an export will take: files and links of its own, bytes of its own, seconds of one processor."""

    files: int = 0
    links: int = 0
    bytes: int = 0
    seconds: float = 0.0

    def __add__(self, other: ExportEstimate) -> ExportEstimate:
        return ExportEstimate(
            self.files + other.files,
            self.links + other.links,
            self.bytes + other.bytes,
            self.seconds + other.seconds,
        )


class Format(ABC):
    """One format. `needs` are modalities; `used_options` those of ExportOptions that change what is written."""

    name: ClassVar[str]
    description: ClassVar[str]
    version: ClassVar[int] = 1
    """Raised when what is written changes: exports of an earlier version are stale."""
    links: ClassVar[bool]
    """Whether pictures are links to the published ones."""
    needs: ClassVar[tuple[str, ...]] = ("images", "calibration")
    used_options: ClassVar[frozenset[str]] = frozenset({"cameras", "frames"})
    image_modes: ClassVar[tuple[str, ...]] = ()
    """The values of `--images` that it can do, if it has that option."""
    by_moment: ClassVar[bool]
    """Whether each moment is a unit of its own, in a folder `frame_NNNNNN`."""
    default_frames: ClassVar[str] = "0"
    default_cameras: ClassVar[str | tuple[str, ...]] = "all"

    def units(self, performance: PublishedPerformance, options: ExportOptions) -> Iterable[Unit]:
        """Yield the units of a performance. Raises NotExportable if there are none."""
        self.require_modalities(performance)
        cameras = self.select_cameras(performance, options)
        frames = self.select_frames(performance, cameras, options)
        place = self.place_of(performance)
        if self.by_moment:
            for frame in frames:
                yield Unit(performance, f"{place}/{frame_stem(frame)}", cameras, (frame,), options)
        else:
            yield Unit(performance, place, cameras, frames, options)

    def place_of(self, performance: PublishedPerformance) -> str:
        """Return the path of a performance's units below the output folder."""
        return performance.name

    def shared_files(self, staging: Path, unit: Unit) -> Mapping[str, bytes]:
        """Return files outside of the unit that others share, by their path below the output folder.

        Units in neighbouring folders must agree on them.
        """
        return {}

    def require_modalities(self, performance: PublishedPerformance) -> None:
        """Raise NotExportable if the performance lacks a modality that the format needs."""
        missing = [modality for modality in self.needs if modality not in performance.modalities]
        if missing:
            raise NotExportable(f"{self.name} needs {' and '.join(missing)}, which this performance does not hold")

    def select_cameras(self, performance: PublishedPerformance, options: ExportOptions) -> tuple[str, ...]:
        """Return the selected cameras that have pictures and a calibration; raise NotExportable if there are none."""
        spec = self.default_cameras if options.cameras is None else options.cameras
        cameras = resolve_cameras(spec, performance.cameras)
        if not cameras:
            have = shortened(tuple(performance.cameras))
            raise NotExportable(f"none of the selected cameras has pictures here (cameras with pictures: {have})")
        return cameras

    def select_frames(
        self, performance: PublishedPerformance, cameras: Sequence[str], options: ExportOptions
    ) -> tuple[int, ...]:
        """Return the selected frames that any of the cameras has; raise NotExportable if there are none."""
        present = sorted(set[int]().union(*(performance.frames(camera) for camera in cameras)))
        frames = select_frames(options.frames or self.default_frames, present)
        if not frames:
            span = f"{present[0]} to {present[-1]}" if present else "none"
            raise NotExportable(f"it has no frame of --frames {options.frames or self.default_frames} (frames: {span})")
        return frames

    @abstractmethod
    def estimate(self, unit: Unit) -> ExportEstimate:
        """Return what a unit will take, without reading pictures."""

    @abstractmethod
    def write(self, unit: Unit, staging: Path, options: ExportOptions) -> Written:
        """Write a unit to its staging folder, which exists and is empty."""

    @abstractmethod
    def check(self, staging: Path, unit: Unit) -> Figures:
        """Check what was written by another way than it was made, with the reader's formulas; raise CheckFailed."""


def shortened(names: Sequence[object]) -> str:
    """Return the first of the names, and how many more there are."""
    more = len(names) - MAX_IDS_SHOWN
    text = " ".join(map(str, names[:MAX_IDS_SHOWN])) or "none"
    return f"{text} and {more} more" if more > 0 else text


def holes_note(unit: Unit) -> list[str]:
    """Return a sentence about the pictures that the source lacks; none if it has all."""
    if not unit.holes:
        return []
    names = tuple(f"cam_{camera}:{frame}" for camera, frame in unit.holes)
    return [f"pictures that the source lacks were left out ({len(names)}): {shortened(names)}"]
