"""The frames of one group: names to numbers, sorted once as numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from rm360_async.smc.errors import named, shown
from rm360_async.smc.links import LinkEntry

_MOST_DIGITS = 9


@dataclass(frozen=True)
class FrameList:
    """Frame numbers in order; `refused` are entries that are no frame, with the reason.

    `spelled` has the stored name of frames that are not written as plain decimals ('007').
    """

    frames: tuple[int, ...] = ()
    refused: tuple[tuple[int | None, str], ...] = ()
    spelled: dict[int, str] = field(default_factory=dict)

    def name(self, frame: int) -> str:
        """Return the stored name of a frame."""
        return self.spelled.get(frame, str(frame))

    @property
    def stored(self) -> int:
        """Return how many frames and refusals there are; very many names that are no frames are one refusal."""
        return len(self.frames) + len(self.refused)


def frame_list(entries: Iterable[LinkEntry]) -> FrameList:
    """Sort a group's entries into frames (hard links with decimal names) and the rest."""
    frames: dict[int, str] = {}
    refused: list[tuple[int | None, str]] = []
    odd: list[str] = []
    for entry in entries:
        frame = _number(entry.name)
        if frame is None:
            odd.append(entry.name)
        elif not entry.hard:
            refused.append((frame, "is a link to elsewhere, which is not followed"))
        elif frame in frames:
            refused.append((frame, f"entry {shown(entry.name)} is the same frame as {shown(frames[frame])}"))
        else:
            frames[frame] = entry.name
    spelled = {frame: name for frame, name in frames.items() if str(frame) != name}
    refused += [(None, sentence) for sentence in named(odd, "frame number", "entry ")]
    return FrameList(tuple(sorted(frames)), tuple(refused), spelled)


def _number(name: str) -> int | None:
    decimal = name.isascii() and name.isdecimal() and len(name) <= _MOST_DIGITS
    return int(name) if decimal else None
