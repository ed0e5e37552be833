"""What `verify` found, as a person and as a script read it: by performance, then by modality and camera."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rm360_async.domain.formatting import number_ranges, size_text
from rm360_async.domain.names import Performance
from rm360_async.domain.record import Record
from rm360_async.store.check import Depth, Flaw, FlawKind, FolderCheck
from rm360_async.system.log import escaped

_GROUPS_TOLD = 12
_NAMES_TOLD = 3
_PERFORMANCES_TOLD = 200
_CAMERA = re.compile(r"cam_([0-9]{2})")
_FRAME = re.compile(r"frame_([0-9]+)")


@dataclass
class VerifyReport:
    """The checks of all folders, and where folders and ledger differ.

    `lost` are completed in the ledger and have no folder; `unknown` are folders that the ledger does not have as
    completed; `unread` says why a folder could not be checked at all; `queued` and `not_queued` (with the reason)
    are what a repair did.
    """

    deep: bool
    checked: dict[Performance, FolderCheck] = field(default_factory=dict)
    lost: list[Performance] = field(default_factory=list)
    unknown: list[Performance] = field(default_factory=list)
    unread: dict[Performance, str] = field(default_factory=dict)
    queued: list[Performance] = field(default_factory=list)
    not_queued: dict[Performance, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    @property
    def damaged(self) -> list[Performance]:
        """Return what is to be extracted again: damaged folders, and those that are gone."""
        return [*(each for each, check in self.checked.items() if check.damaged), *self.lost]

    @property
    def wrong(self) -> bool:
        """Tell whether anything is not as it was published."""
        return bool(self.lost or self.unread or any(check.flaws for check in self.checked.values()))

    @property
    def published(self) -> dict[Performance, FolderCheck]:
        """Return the checks of the folders that some tool published."""
        return {each: check for each, check in self.checked.items() if check.depth is not Depth.FOREIGN}


def as_dict(found: VerifyReport) -> dict[str, Any]:
    """Return the findings as plain values."""
    published = found.published.values()
    return {
        "ok": not found.wrong,
        "deep": found.deep,
        "folders": len(published),
        "files": sum(check.files for check in published),
        "bytes": sum(check.bytes for check in published),
        "performances": {str(each): _check_dict(check) for each, check in found.checked.items()},
        "folder_missing": [str(each) for each in found.lost],
        "unknown_to_ledger": [str(each) for each in found.unknown],
        "unread": {str(each): reason for each, reason in found.unread.items()},
        "queued": [str(each) for each in found.queued],
        "not_queued": {str(each): reason for each, reason in found.not_queued.items()},
        "remarks": found.remarks,
    }


def _check_dict(check: FolderCheck) -> dict[str, Any]:
    return {
        "state": "damaged" if check.damaged else "extra files" if check.flaws else _state(check),
        "compared": check.depth.value,
        "files": check.files,
        "bytes": check.bytes,
        "flaws": [_flaw_dict(flaw) for flaw in check.flaws],
    }


def _state(check: FolderCheck) -> str:
    return "not published" if check.depth is Depth.FOREIGN else "ok"


def _flaw_dict(flaw: Flaw) -> dict[str, Any]:
    modality, camera, frame = place_of(flaw.path)
    place = {"modality": modality or None, "camera": camera or None, "frame": frame}
    return {"kind": flaw.kind.value, "path": flaw.path, "reason": flaw.reason, **place}


def place_of(path: str) -> tuple[str, str, int | None]:
    """Return modality, camera ("" for none) and frame of a file's path, by the layout of a published folder."""
    parts = path.split("/")
    modality = parts[0] if len(parts) > 1 else ""
    cameras = [match[1] for part in parts[1:] if (match := _CAMERA.match(part))]
    frame = _FRAME.match(parts[-1])
    return modality, cameras[0] if cameras else "", int(frame[1]) if frame else None


def as_text(found: VerifyReport) -> str:
    """Return the findings as a person reads them; the last line is the sum."""
    lines: list[str] = []
    told = [each for each, check in found.checked.items() if check.flaws]
    for each in told[:_PERFORMANCES_TOLD]:
        lines += _performance_lines(each, found.checked[each])
    if len(told) > _PERFORMANCES_TOLD:
        lines.append(f"and {len(told) - _PERFORMANCES_TOLD} more performances; --json names them all")
    lines += [f"{each}: completed in the ledger, and its folder is not there" for each in found.lost]
    lines += [f"{each}: {reason}" for each, reason in found.unread.items()]
    lines += [f"note: {each} is published, and the ledger does not know it as completed" for each in found.unknown]
    foreign = [each for each, check in found.checked.items() if check.depth is Depth.FOREIGN]
    lines += [f"note: {each} has no marker: no tool published it, nothing was compared" for each in foreign]
    lines += [f"note: {remark}" for remark in found.remarks]
    lines += _depth_lines(found)
    lines += [f"queued: {each}" for each in found.queued]
    lines += [f"not queued: {each}: {reason}" for each, reason in found.not_queued.items()]
    return "\n".join([*lines, _sum_line(found)])


def _performance_lines(performance: Performance, check: FolderCheck) -> list[str]:
    state = "damaged" if check.damaged else "has extra files"
    waits = ", and waits to be extracted again" if check.queued else ""
    groups: dict[tuple[str, str], list[Flaw]] = {}
    for flaw in check.flaws:
        modality, camera, _ = place_of(flaw.path)
        groups.setdefault((modality, camera), []).append(flaw)
    lines = [f"{performance}: {state}{waits}"]
    for (modality, camera), flaws in list(groups.items())[:_GROUPS_TOLD]:
        where = " ".join(part for part in (modality, f"cam_{camera}" if camera else "") if part) or "the folder itself"
        lines += [f"  {escaped(where)}: {text}" for text in _kinds(flaws)]
    more = sum(len(flaws) for flaws in list(groups.values())[_GROUPS_TOLD:])
    return lines + ([f"  and {more} more; --json names them all"] if more else [])


def _kinds(flaws: Sequence[Flaw]) -> list[str]:
    """Return e.g. `3 missing: frames 4, 7-8`, for each kind and reason."""
    groups: dict[tuple[FlawKind, str], list[Flaw]] = {}
    for flaw in flaws:
        groups.setdefault((flaw.kind, _general(flaw.reason)), []).append(flaw)
    return [
        f"{len(group)} {kind.value}: {_names(group)}" + (f" {group[0].reason if len(group) == 1 else reason}").rstrip()
        for (kind, reason), group in groups.items()
    ]


def _general(reason: str) -> str:
    """Return the reason without its numbers, so that many frames of other sizes are one line."""
    return "has another size" if re.fullmatch(r"has \d+ bytes, not \d+", reason) else reason


def _names(flaws: Sequence[Flaw]) -> str:
    frames = [place_of(flaw.path)[2] for flaw in flaws]
    numbers = [frame for frame in frames if frame is not None]
    if len(numbers) == len(flaws):
        return f"frame{'s' if len(numbers) > 1 else ''} {number_ranges(numbers)}"
    names = [escaped(flaw.path.rsplit("/", 1)[-1]) for flaw in flaws[:_NAMES_TOLD]]
    more = len(flaws) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _depth_lines(found: VerifyReport) -> list[str]:
    """Return a line for each kind of folder that could not be compared as far as was asked."""
    asked = Depth.EVERY_BYTE if found.deep else Depth.SIZES
    counts = Counter(check.depth for check in found.published.values() if check.depth is not asked)
    return [f"note: of {count} folders were compared: {depth.value}" for depth, count in counts.items()]


def _sum_line(found: VerifyReport) -> str:
    published = found.published.values()
    size = size_text(sum(check.bytes for check in published))
    damaged, extra = len(found.damaged), sum(1 for check in published if check.flaws and not check.damaged)
    parts = [f"{damaged} damaged or gone"] if damaged else []
    parts += [f"{extra} with extra files"] if extra else []
    parts += [f"{len(found.unread)} could not be read"] if found.unread else []
    how = "every byte" if found.deep else "names and sizes"
    files = sum(check.files for check in published)
    return f"{len(published)} folders ({how}), {files} files, {size}: {', '.join(parts) or 'all as published'}"


def is_repairable(check: FolderCheck) -> bool:
    """Tell whether a damaged folder is ours to replace; what an earlier tool published is left alone."""
    return isinstance(check.record, Record) or check.depth is not Depth.EMPTY_FILES
