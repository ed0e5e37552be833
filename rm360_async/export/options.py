"""The options of an export, and how their texts are read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rm360_async.domain.errors import BadRequest

FULL_SIZE = "full"
_FRAMES = re.compile(r"([0-9]{1,9})(?::([0-9]{1,9})(?::([1-9][0-9]{0,8}))?)?")
_HOLD = re.compile(r"hold:([1-9][0-9]?)")
_SIZE_RANGE = (16, 8192)


@dataclass(frozen=True)
class ExportOptions:
    """What a user may choose; None stands for the format's own default.

    `cameras` is "all", a named set or ids; `frames` a text such as 0, 0:100:10 or all; `size` pixels or "full";
    `radius` metres about the head that must be in the picture; `threads` those that one worker may use.
    """

    cameras: str | tuple[str, ...] | None = None
    frames: str | None = None
    images: str = "hard"
    size: int | str | None = None
    radius: float | None = None
    background: str | None = None
    fps: float | None = None
    split: str = "none"
    text: bool = False
    threads: int = 1

    def to_json(self) -> dict[str, Any]:
        """Return the options that were chosen, as the record holds them; `threads` changes nothing that is written."""
        chosen = {key: value for key, value in vars(self).items() if value is not None and key != "threads"}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in chosen.items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ExportOptions:
        """Return the options that a record or a worker's job holds."""
        known: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return cls(**known)

    def chosen(self) -> set[str]:
        """Return the names of the options that differ from their defaults."""
        default = ExportOptions()
        return {key for key, value in vars(self).items() if value != getattr(default, key)} - {"threads"}


def require_valid(options: ExportOptions) -> None:
    """Raise BadRequest, with a line for each, if options have values that mean nothing."""
    problems = []
    frames_text = options.frames
    if frames_text not in (None, "all") and not _FRAMES.fullmatch(frames_text or ""):
        problems.append(f"--frames {frames_text}: give a frame (0), a range (0:100 or 0:100:10), or all")
    if options.split not in ("none", "bench") and not _HOLD.fullmatch(options.split):
        problems.append(f"--split {options.split}: give none, bench, or hold:N with N from 1 to 99")
    smallest, largest = _SIZE_RANGE
    if isinstance(options.size, int) and not smallest <= options.size <= largest:
        problems.append(f"--size {options.size}: give {smallest} to {largest} pixels, or full")
    if options.radius is not None and not 0.02 <= options.radius <= 1.0:
        problems.append(f"--radius {options.radius:g}: give 0.02 to 1 metres")
    if options.fps is not None and not 1 <= options.fps <= 240:
        problems.append(f"--fps {options.fps:g}: give 1 to 240 frames a second")
    if problems:
        raise BadRequest(*problems)


def select_frames(text: str, present: Iterable[int]) -> tuple[int, ...]:
    """Return the frames of a selection that are present, in order; a range ends before its second number."""
    frames = sorted(present)
    if text == "all":
        return tuple(frames)
    match = _FRAMES.fullmatch(text)
    if match is None:
        raise BadRequest(f"--frames {text}: give a frame (0), a range (0:100 or 0:100:10), or all")
    first, end, step = match.groups()
    wanted = range(int(first), int(end if end is not None else int(first) + 1), int(step or 1))
    return tuple(frame for frame in frames if frame in wanted)


def held_out_count(split: str) -> int | None:
    """Return N of `hold:N`; None for another split."""
    match = _HOLD.fullmatch(split)
    return None if match is None else int(match[1])
