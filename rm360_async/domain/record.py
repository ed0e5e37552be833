"""What a published folder holds, and from what it was made; pure."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import Enum

SCHEMA = 1


class CompletenessLevel(str, Enum):
    """How complete an extraction is, as the `verdict` of the manifest says it."""

    COMPLETE = "complete"
    AS_RELEASED = "complete as released"
    DAMAGED = "damaged"


def is_damaged(verdict: str) -> bool:
    """Return True if the verdict of a published folder is that something in it is damaged."""
    return verdict.startswith(CompletenessLevel.DAMAGED.value)


@dataclass(frozen=True)
class SourceFile:
    """One source .smc: path below the remote's root (or a local path), size in bytes, md5 where known."""

    path: str
    size: int
    md5: str | None = None
    modified: str | None = None


@dataclass(frozen=True)
class RemoteFolder:
    """One folder on the remote: path below its root, and its id ("" where folders have none)."""

    path: str
    id: str


@dataclass(frozen=True)
class RemoteFile:
    """One file on the remote: path below its root, bytes, modification time (RFC 3339), id and md5 if it has them.

    `duplicate`: the remote holds two files of this very path (Drive allows that); nothing says which one is right,
    so it is never downloaded. `folder`: the folder that holds it, if the remote has several folders of that path
    (Drive allows that too), so that only the folder's id leads to the file.
    """

    path: str
    size: int
    modified: str | None = None
    id: str | None = None
    md5: str | None = None
    duplicate: bool = False
    folder: RemoteFolder | None = None

    @property
    def path_in_folder(self) -> str:
        """Return the path below `folder`, or below the remote's root if there is none."""
        return self.path if self.folder is None else self.path.removeprefix(f"{self.folder.path}/")

    def source(self) -> SourceFile:
        """Return it as the record of a published folder holds it."""
        return SourceFile(self.path, self.size, self.md5, self.modified)


@dataclass(frozen=True)
class LeftOut:
    """One stored blob that was not published because it is broken in the source."""

    modality: str
    camera: str
    frame: int | None
    reason: str

    def __str__(self) -> str:
        where = [self.modality, f"cam_{self.camera}" if self.camera else ""]
        where.append("" if self.frame is None else f"frame {self.frame}")
        return f"{' '.join(part for part in where if part)}: {self.reason}"


@dataclass(frozen=True)
class Record:
    """What one published folder holds; `cameras` maps a camera to its number of images written."""

    subject: str
    performance: str
    version: str
    published: str
    sources: tuple[SourceFile, ...]
    wanted_cameras: str | tuple[str, ...]
    wanted_modalities: tuple[str, ...]
    modalities: tuple[str, ...]
    absent: tuple[str, ...]
    cameras: dict[str, int]
    frames: int
    fps: float | None
    left_out: tuple[LeftOut, ...]
    files: int
    bytes: int
    fetched: str = "whole"
    schema: int = SCHEMA
    seconds: dict[str, float] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes written of each modality."""
    resolved_cameras: tuple[str, ...] = ()
    """The ids that `wanted_cameras` selected of this file; empty in markers of earlier versions."""
    camera_pool: tuple[str, ...] = ()
    """The cameras among which a set such as ring:10 chose; empty without such a set."""
    verdict: str = ""
    """Complete, complete as released, or damaged and with what; "" in markers from before there were verdicts."""
    audio_seconds: float | None = None
    """Length of the source's audio; None without audio, and in markers of earlier versions."""

    @property
    def cameras_extracted(self) -> int:
        """Return how many cameras have images in the folder."""
        return sum(1 for frames in self.cameras.values() if frames)

    def to_json(self) -> str:
        """Return the marker's text."""
        return json.dumps(asdict(self), indent=1) + "\n"


@dataclass(frozen=True)
class EarlierRecord:
    """A marker that another version or the earlier tool wrote: recognised, and left alone."""

    text: str
