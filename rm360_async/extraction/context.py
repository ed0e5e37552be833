"""The context in which a modality is extracted, and the result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from rm360_async.domain.names import Modality
from rm360_async.domain.record import LeftOut
from rm360_async.extraction.copier import CopiedItem, FinishTask, Item
from rm360_async.extraction.forks import TaskFunction
from rm360_async.extraction.previous import PreviousFolder
from rm360_async.smc import FrameList, SmcPair
from rm360_async.store.file_list import ListedFile

Extractor = Callable[["ExtractionContext"], "ModalityResult"]


class OutputFolder(Protocol):
    """Where a modality's files are written: a staging folder, or a folder that discards them (see `discovery`)."""

    @property
    def path(self) -> Path:
        """Return the path of the folder."""

    def write(self, relative: str, data: bytes) -> None:
        """Write a new file."""

    def link(self, source: Path, listed: ListedFile) -> None:
        """Reuse a published file under the path in its list entry."""

    def open(self, relative: str) -> AbstractContextManager[IO[bytes]]:
        """Yield a new binary file to write to."""


class ItemCopier(Protocol):
    """What copies stored files: the copy processes, or a stand-in that only notes which bytes they would read."""

    def run(self, items: Iterable[Item]) -> Iterator[CopiedItem]:
        """Yield the result of each item, in order."""

    def start_task(self, name: str, function: TaskFunction) -> FinishTask:
        """Start a function that writes files beside the copying; the returned function waits for it."""

    def require_space(self, size: int) -> None:
        """Raise Fault(DAMAGED) if `size` more bytes are out of proportion to the source."""

    def report_progress(self) -> None:
        """Report the files and bytes written so far."""


@dataclass(frozen=True)
class ExtractionContext:
    """The context of one extraction: the opened files, the folder to fill, the copier and the chosen cameras."""

    source: SmcPair
    folder: OutputFolder
    copier: ItemCopier
    cameras: frozenset[str]
    previous: PreviousFolder | None = None
    """The published folder whose files are reused."""
    ffmpeg: str | None = None
    """An ffmpeg that is known to work; without one it is looked for when it is needed."""
    started: dict[Modality, Extractor] = field(default_factory=dict)
    """What was started ahead of its turn: the function that waits for it and returns its result."""


@dataclass
class ModalityResult:
    """The result of one modality.

    `stored` is True if the source holds any of it, `files` is the number of files written. `frames` has the frames
    written per camera ("" where there is no camera), `index_sizes` the number of entries in the source's index for
    the same.
    """

    modality: Modality
    stored: bool = False
    files: int = 0
    frames: dict[str, list[int]] = field(default_factory=dict)
    index_sizes: dict[str, int] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def leave_out(self, camera: str, frame: int | None, reason: str) -> None:
        """Note something that is stored and cannot be published."""
        self.stored = True
        self.left_out.append(LeftOut(self.modality.value, camera, frame, reason))

    def leave_out_all(self, camera: str, refused: Iterable[tuple[int | None, str]]) -> None:
        """Note several frames of one camera, each with the reason, that cannot be published."""
        for frame, reason in refused:
            self.leave_out(camera, frame, reason)

    def unique_cameras(self, cameras: Iterable[str]) -> list[str]:
        """Return each camera once, sorted; note those that a damaged index names twice (HDF5 finds the first)."""
        counts = Counter(cameras)
        for camera in (camera for camera, count in counts.items() if count > 1):
            self.leave_out(camera, None, "is in the index twice; the first entry was used")
        return sorted(counts)

    def add_index(self, camera: str, frames: FrameList) -> None:
        """Note the index of a camera: its number of entries, and the entries that are not frames."""
        if not frames.entry_count:
            return
        self.stored = True
        self.index_sizes[camera] = frames.entry_count
        self.frames[camera] = []
        self.leave_out_all(camera, frames.unreadable)
