"""The report of `rm360 verify`, as text and as JSON: by performance, then by modality and camera."""

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

_MAX_GROUPS_SHOWN = 12
_MAX_NAMES_SHOWN = 3
_MAX_PERFORMANCES_SHOWN = 200
_CAMERA = re.compile(r"cam_([0-9]{2})")
_FRAME = re.compile(r"frame_([0-9]+)")


@dataclass
class VerifyReport:
    """The checks of all folders, and the differences between folders and ledger."""

    deep: bool
    checks: dict[Performance, FolderCheck] = field(default_factory=dict)
    folder_missing: list[Performance] = field(default_factory=list)
    """Completed in the ledger, but there is no folder."""
    unknown_to_ledger: list[Performance] = field(default_factory=list)
    """Published, but not completed in the ledger."""
    unreadable: dict[Performance, str] = field(default_factory=dict)
    """Folders that could not be checked at all, each with the reason."""
    queued: list[Performance] = field(default_factory=list)
    """Queued by `--repair`."""
    not_queued: dict[Performance, str] = field(default_factory=dict)
    """Not queued by `--repair`, each with the reason."""
    remarks: list[str] = field(default_factory=list)

    @property
    def damaged(self) -> list[Performance]:
        """Return what must be extracted again: damaged and missing folders."""
        return [*(each for each, check in self.checks.items() if check.is_damaged), *self.folder_missing]

    @property
    def has_problems(self) -> bool:
        """Return True if anything differs from what was published."""
        return bool(self.folder_missing or self.unreadable or any(check.flaws for check in self.checks.values()))

    @property
    def published(self) -> dict[Performance, FolderCheck]:
        """Return the checks of published folders, of this tool or an earlier one."""
        return {each: check for each, check in self.checks.items() if check.depth is not Depth.FOREIGN}


def as_dict(report: VerifyReport) -> dict[str, Any]:
    """Return the report as JSON values."""
    published = report.published.values()
    return {
        "ok": not report.has_problems,
        "deep": report.deep,
        "folders": len(published),
        "files": sum(check.files for check in published),
        "bytes": sum(check.bytes for check in published),
        "performances": {str(each): _check_dict(check) for each, check in report.checks.items()},
        "folder_missing": [str(each) for each in report.folder_missing],
        "unknown_to_ledger": [str(each) for each in report.unknown_to_ledger],
        "unread": {str(each): reason for each, reason in report.unreadable.items()},
        "queued": [str(each) for each in report.queued],
        "not_queued": {str(each): reason for each, reason in report.not_queued.items()},
        "remarks": report.remarks,
    }


def _check_dict(check: FolderCheck) -> dict[str, Any]:
    return {
        "state": "damaged" if check.is_damaged else "extra files" if check.flaws else _state(check),
        "compared": check.depth.value,
        "files": check.files,
        "bytes": check.bytes,
        "flaws": [_flaw_dict(flaw) for flaw in check.flaws],
    }


def _state(check: FolderCheck) -> str:
    return "not published" if check.depth is Depth.FOREIGN else "ok"


def _flaw_dict(flaw: Flaw) -> dict[str, Any]:
    modality, camera, frame = parts_of(flaw.path)
    parts = {"modality": modality or None, "camera": camera or None, "frame": frame}
    return {"kind": flaw.kind.value, "path": flaw.path, "reason": flaw.reason, **parts}


def parts_of(path: str) -> tuple[str, str, int | None]:
    """Return modality, camera ("" for none) and frame of a file in a published folder, from its path."""
    parts = path.split("/")
    modality = parts[0] if len(parts) > 1 else ""
    cameras = [match[1] for part in parts[1:] if (match := _CAMERA.match(part))]
    frame = _FRAME.match(parts[-1])
    return modality, cameras[0] if cameras else "", int(frame[1]) if frame else None


def as_text(report: VerifyReport) -> str:
    """Return the report as text for a terminal; the last line has the totals."""
    lines: list[str] = []
    flawed = [each for each, check in report.checks.items() if check.flaws]
    for each in flawed[:_MAX_PERFORMANCES_SHOWN]:
        lines += _performance_lines(each, report.checks[each])
    if len(flawed) > _MAX_PERFORMANCES_SHOWN:
        lines.append(f"and {len(flawed) - _MAX_PERFORMANCES_SHOWN} more performances; --json lists them all")
    lines += [f"{each}: completed in the ledger, but its folder is missing" for each in report.folder_missing]
    lines += [f"{each}: {reason}" for each, reason in report.unreadable.items()]
    lines += [f"note: {each} is published but not marked completed in the ledger" for each in report.unknown_to_ledger]
    foreign = [each for each, check in report.checks.items() if check.depth is Depth.FOREIGN]
    lines += [f"note: {each} has no marker, so it was not published and was not compared" for each in foreign]
    lines += [f"note: {remark}" for remark in report.remarks]
    lines += _depth_lines(report)
    lines += [f"queued: {each}" for each in report.queued]
    lines += [f"not queued: {each}: {reason}" for each, reason in report.not_queued.items()]
    return "\n".join([*lines, _sum_line(report)])


def _performance_lines(performance: Performance, check: FolderCheck) -> list[str]:
    state = "damaged" if check.is_damaged else "has extra files"
    queued = ", queued to be extracted again" if check.queued else ""
    groups: dict[tuple[str, str], list[Flaw]] = {}
    for flaw in check.flaws:
        modality, camera, _ = parts_of(flaw.path)
        groups.setdefault((modality, camera), []).append(flaw)
    lines = [f"{performance}: {state}{queued}"]
    for (modality, camera), flaws in list(groups.items())[:_MAX_GROUPS_SHOWN]:
        where = " ".join(part for part in (modality, f"cam_{camera}" if camera else "") if part) or "the folder itself"
        lines += [f"  {escaped(where)}: {text}" for text in _kinds(flaws)]
    more = sum(len(flaws) for flaws in list(groups.values())[_MAX_GROUPS_SHOWN:])
    return lines + ([f"  and {more} more; --json lists them all"] if more else [])


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
    """Return the reason without numbers, so that many files with different sizes are one line."""
    return "has another size" if re.fullmatch(r"has \d+ bytes, not \d+", reason) else reason


def _names(flaws: Sequence[Flaw]) -> str:
    frames = [parts_of(flaw.path)[2] for flaw in flaws]
    numbers = [frame for frame in frames if frame is not None]
    if len(numbers) == len(flaws):
        return f"frame{'s' if len(numbers) > 1 else ''} {number_ranges(numbers)}"
    names = [escaped(flaw.path.rsplit("/", 1)[-1]) for flaw in flaws[:_MAX_NAMES_SHOWN]]
    more = len(flaws) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _depth_lines(report: VerifyReport) -> list[str]:
    """Return a line for each group of folders that could not be compared as thoroughly as requested."""
    requested = Depth.EVERY_BYTE if report.deep else Depth.SIZES
    counts = Counter(check.depth for check in report.published.values() if check.depth is not requested)
    return [f"note: {count} folders were compared less thoroughly: {depth.value}" for depth, count in counts.items()]


def _sum_line(report: VerifyReport) -> str:
    published = report.published.values()
    size = size_text(sum(check.bytes for check in published))
    damaged, extra = len(report.damaged), sum(1 for check in published if check.flaws and not check.is_damaged)
    parts = [f"{damaged} damaged or missing"] if damaged else []
    parts += [f"{extra} with extra files"] if extra else []
    parts += [f"{len(report.unreadable)} could not be read"] if report.unreadable else []
    depth = "every byte" if report.deep else "names and sizes"
    files = sum(check.files for check in published)
    return f"{len(published)} folders ({depth}), {files} files, {size}: {', '.join(parts) or 'all as published'}"


def is_repairable(check: FolderCheck) -> bool:
    """Return True if a damaged folder may be replaced; one that an earlier tool published is left alone."""
    return isinstance(check.record, Record) or check.depth is not Depth.EMPTY_FILES
