"""The frames of one group: names to numbers, sorted once as numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from rm360_async.smc.errors import quoted_name, unexpected_names
from rm360_async.smc.links import LinkEntry

_MAX_DIGITS = 9


@dataclass(frozen=True)
class FrameList:
    """Frame numbers in order.

    `unreadable` are the entries that are not frames, as (frame number or None, reason). `stored_names` has the names of
    frames that are not written as plain decimals ('007').
    """

    frames: tuple[int, ...] = ()
    unreadable: tuple[tuple[int | None, str], ...] = ()
    stored_names: dict[int, str] = field(default_factory=dict)

    def stored_name(self, frame: int) -> str:
        """Return the stored name of a frame."""
        return self.stored_names.get(frame, str(frame))

    @property
    def entry_count(self) -> int:
        """Return the number of frames and unreadable entries; of very many unexpected names the rest counts as one."""
        return len(self.frames) + len(self.unreadable)


def parse_frames(entries: Iterable[LinkEntry]) -> FrameList:
    """Return a group's entries as frames (hard links with decimal names) and unreadable entries."""
    frames: dict[int, str] = {}
    unreadable: list[tuple[int | None, str]] = []
    unexpected: list[str] = []
    for entry in entries:
        frame = _frame_number(entry.name)
        if frame is None:
            unexpected.append(entry.name)
        elif not entry.hard:
            unreadable.append((frame, "is a link to elsewhere, which is not followed"))
        elif frame in frames:
            unreadable.append(
                (frame, f"entry {quoted_name(entry.name)} is the same frame as {quoted_name(frames[frame])}")
            )
        else:
            frames[frame] = entry.name
    stored_names = {frame: name for frame, name in frames.items() if str(frame) != name}
    unreadable += [(None, sentence) for sentence in unexpected_names(unexpected, "frame number", "entry ")]
    return FrameList(tuple(sorted(frames)), tuple(unreadable), stored_names)


def _frame_number(name: str) -> int | None:
    is_decimal = name.isascii() and name.isdecimal() and len(name) <= _MAX_DIGITS
    return int(name) if is_decimal else None
