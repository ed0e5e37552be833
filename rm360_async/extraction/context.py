"""What every modality gets, and what it gives back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from rm360_async.domain.names import Modality
from rm360_async.domain.record import LeftOut
from rm360_async.extraction.copier import Copied, Item
from rm360_async.extraction.previous import PreviousFolder
from rm360_async.smc import FrameList, SmcPair
from rm360_async.store.file_list import ListedFile


class Folder(Protocol):
    """Where a modality's files go: a staging folder, or nowhere (see `ranges`)."""

    @property
    def path(self) -> Path:
        """Return the folder itself."""

    def write(self, relative: str, data: bytes) -> None:
        """Write a new file."""

    def link(self, source: Path, listed: ListedFile) -> None:
        """Take over a published file under the path that its list has."""

    def open(self, relative: str) -> AbstractContextManager[IO[bytes]]:
        """Yield a new binary file to write to."""


class Copies(Protocol):
    """What takes the pictures over: the copying processes, or a list of what they would need."""

    def run(self, items: Iterable[Item]) -> Iterator[Copied]:
        """Yield what became of each item, in order."""

    def require_room(self, size: int) -> None:
        """Raise Fault(DAMAGED) when `size` more bytes are more than this source can rightly give."""

    def progress(self) -> None:
        """Tell how far it is."""


@dataclass(frozen=True)
class ExtractionContext:
    """One performance in hand: its opened files, the folder to fill, the copier, the chosen cameras."""

    source: SmcPair
    folder: Folder
    copier: Copies
    cameras: frozenset[str]
    base: PreviousFolder | None = None
    """The published folder that is added to."""


@dataclass
class ModalityResult:
    """What one modality gave.

    `stored` says whether the source holds any of it, `files` how many were written; `frames` has the frames
    written per camera ("" where there is no camera), `listed` the entries of the source's index for the same.
    """

    modality: Modality
    stored: bool = False
    files: int = 0
    frames: dict[str, list[int]] = field(default_factory=dict)
    listed: dict[str, int] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def leave_out(self, camera: str, frame: int | None, reason: str) -> None:
        """Note something that is stored and cannot be published."""
        self.stored = True
        self.left_out.append(LeftOut(self.modality.value, camera, frame, reason))

    def once(self, cameras: Iterable[str]) -> list[str]:
        """Return each camera once, in order; only a damaged index names one twice, and HDF5 finds the first."""
        counted = Counter(cameras)
        for camera in (camera for camera, count in counted.items() if count > 1):
            self.leave_out(camera, None, "is in the index twice; the first is taken")
        return sorted(counted)

    def list_frames(self, camera: str, frames: FrameList) -> None:
        """Note a camera's index: how many entries it has, and which of them are no frames."""
        if not frames.stored:
            return
        self.stored = True
        self.listed[camera] = frames.stored
        self.frames[camera] = []
        self.leave_out_all(camera, frames.refused)

    def leave_out_all(self, camera: str, refused: Iterable[tuple[int | None, str]]) -> None:
        """Note several things of one camera that cannot be published."""
        for frame, reason in refused:
            self.leave_out(camera, frame, reason)
