"""Whether an exported unit is there, whole, and still true to its source."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from rm360_async.dataset import DamagedData, MissingData
from rm360_async.domain.terms import asks_for_all
from rm360_async.export.format import Format, Unit
from rm360_async.export.options import ExportOptions
from rm360_async.export.record import ExportRecord, read_record, recorded_options, source_differences, source_state
from rm360_async.store.file_list import EXPORT_LIST, EXPORT_RECORD, ListedFile, read_file_list
from rm360_async.system.hashing import hash_of_range

MAX_FLAWS_SHOWN = 5


class ExportState(str, Enum):
    """What can be said of an exported unit."""

    ABSENT = "absent"
    COMPLETE = "complete"
    STALE = "stale"
    DAMAGED = "damaged"
    FOREIGN = "something else"


@dataclass(frozen=True)
class StateResult:
    """A state, and why."""

    state: ExportState
    reason: str = ""


def unit_state(unit: Unit, fmt: Format, folder: Path) -> StateResult:
    """Return the state of what has a unit's name now: an export of it must have its options and its source."""
    if not os.path.lexists(folder):
        return StateResult(ExportState.ABSENT)
    record = read_record(folder)
    if record is None:
        what = "its record cannot be read" if (folder / EXPORT_RECORD).exists() else f"it has no {EXPORT_RECORD}"
        return StateResult(ExportState.FOREIGN, what)
    if record.format != fmt.name:
        return StateResult(ExportState.FOREIGN, f"it is an export of format {record.format}")
    if reasons := [*_other_options(record, unit.options, fmt), *_source_reasons(record, unit, fmt)]:
        return StateResult(ExportState.STALE, "; ".join(reasons))
    state = damage(folder)
    return state if state.state is not ExportState.COMPLETE else _shared_state(unit, fmt, folder)


def _shared_state(unit: Unit, fmt: Format, folder: Path) -> StateResult:
    """Return COMPLETE, or DAMAGED if a file outside of the unit that it needs is lost or another."""
    output = folder.parents[len(Path(unit.place).parts) - 1]
    for place, content in fmt.shared_files(folder, unit).items():
        path = output / place
        if not path.is_file() or path.read_bytes() != content:
            return StateResult(ExportState.DAMAGED, f"{place} is lost or changed")
    return StateResult(ExportState.COMPLETE)


def _other_options(record: ExportRecord, options: ExportOptions, fmt: Format) -> list[str]:
    then, now = recorded_options(record), options
    keys = sorted(fmt.used_options - {"frames"})
    changed = [key for key in keys if getattr(then, key) != getattr(now, key)]
    return [f"made with --{key} {_text(then, key)}, not {_text(now, key)}" for key in changed]


def _text(options: ExportOptions, key: str) -> str:
    value = getattr(options, key)
    return "default" if value is None else ",".join(value) if isinstance(value, tuple) else str(value)


def _source_reasons(record: ExportRecord, unit: Unit, fmt: Format) -> list[str]:
    """Return why the source is not what the export was made from."""
    reasons = []
    if record.format_version != fmt.version:
        reasons.append(f"an earlier version of rm360 wrote it ({record.made_by})")
    more = len(set(unit.cameras) - set(record.cameras))
    if not asks_for_all(unit.options.cameras or fmt.default_cameras):
        unit = _with_recorded_cameras(unit, record)
        more = 0
    try:
        differences = source_differences(record.source, source_state(unit))
    except (OSError, MissingData, DamagedData) as error:
        return [*reasons, f"its source cannot be read: {error}"]
    if more and not set(record.cameras) - set(unit.cameras):
        return [*reasons, f"{more} cameras more since"]
    return reasons + differences


def _with_recorded_cameras(unit: Unit, record: ExportRecord) -> Unit:
    """Return a unit of the exported cameras if all are still there: ring:N of more cameras would be another set."""
    are_there = set(record.cameras) <= set(unit.performance.cameras)
    return replace(unit, cameras=tuple(record.cameras)) if are_there else unit


def damage(folder: Path, *, deep: bool = False) -> StateResult:
    """Return COMPLETE, or DAMAGED with the first flaws; `deep` reads every file that the export has of its own."""
    try:
        flaws = list(_flaws(folder, deep))
    except (OSError, ValueError) as error:
        return StateResult(ExportState.DAMAGED, f"its list of files cannot be read: {error}")
    if not flaws:
        return StateResult(ExportState.COMPLETE)
    more = f" and {len(flaws) - MAX_FLAWS_SHOWN} more" if len(flaws) > MAX_FLAWS_SHOWN else ""
    return StateResult(ExportState.DAMAGED, "; ".join(flaws[:MAX_FLAWS_SHOWN]) + more)


def _flaws(folder: Path, deep: bool) -> Iterator[str]:
    for file in read_file_list(folder, EXPORT_LIST):
        try:
            state = (folder / file.path).stat()
        except OSError as error:
            is_link = os.path.lexists(folder / file.path)
            yield f"{file.path} leads nowhere" if is_link else f"{file.path}: {error.strerror}"
            continue
        if not stat.S_ISREG(state.st_mode) or state.st_size != file.size:
            yield f"{file.path} has {state.st_size} bytes, expected {file.size}"
        elif deep and file.hash is not None and _hash(folder, file) != file.hash:
            yield f"{file.path}: content does not match the recorded hash"


def _hash(folder: Path, file: ListedFile) -> bytes:
    descriptor = os.open(folder / file.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return hash_of_range(descriptor, 0, file.size)
    finally:
        os.close(descriptor)
