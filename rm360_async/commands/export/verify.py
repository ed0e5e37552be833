"""`rm360 verify OUT`: exports against their records and against the published folders that they were made from."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rm360_async.dataset import DamagedData, MissingData, PublishedPerformance, open_performance
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.exit_code import ExitCode
from rm360_async.domain.formatting import size_text
from rm360_async.domain.names import Performance
from rm360_async.domain.terms import PerformanceFilter
from rm360_async.export.format import Format, NotExportable, Unit
from rm360_async.export.formats import get_format
from rm360_async.export.record import ExportRecord, read_record, recorded_options
from rm360_async.export.state import ExportState, StateResult, damage, unit_state
from rm360_async.store.file_list import EXPORT_LIST, EXPORT_RECORD, read_file_list
from rm360_async.store.staging import is_staging_name
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.log import escaped

_MAX_LINES = 200


@dataclass
class ExportsReport:
    """The exports below a folder: states by path, and what they were made from."""

    exports: dict[str, StateResult] = field(default_factory=dict)
    without_source: Counter[str] = field(default_factory=Counter)
    """Published folders that are gone, each with the bytes that links of exports still hold."""
    unfinished: int = 0

    @property
    def problems(self) -> dict[str, StateResult]:
        """Return the exports that are not complete."""
        return {path: each for path, each in self.exports.items() if each.state is not ExportState.COMPLETE}


async def verify_exports(output: Path, selected: PerformanceFilter, deep: bool, as_json: bool) -> int:
    """Check the exports below a folder and print the report; SOME_FAILED if one is damaged or stale."""
    report = await on_disk_thread(lambda: check_exports(output, selected, deep=deep), abandon=True)
    if not report.exports and not report.unfinished:
        hint = "give the folder of `rm360 export --output`, or a config to verify what it has published"
        raise BadRequest(f"{output} holds no exports of the selected performances; {hint}")
    print(json.dumps(_as_dict(report, deep), indent=1) if as_json else "\n".join(_lines(report, deep)))
    return ExitCode.SOME_FAILED if report.problems else ExitCode.DONE


def check_exports(output: Path, selected: PerformanceFilter, *, deep: bool) -> ExportsReport:
    """Return the state of every export below a folder whose performance is selected."""
    report, checker = ExportsReport(), _Checker()
    for folder in _export_folders(output, report):
        record = read_record(folder)
        if record is not None and not selected.selects(Performance(record.source.subject, record.source.performance)):
            continue
        path = folder.relative_to(output).as_posix()
        if record is None:
            report.exports[path] = StateResult(ExportState.DAMAGED, f"{EXPORT_RECORD} cannot be read")
            continue
        report.exports[path] = checker.state(folder, record, deep)
        if not os.path.lexists(record.source.folder):
            intact = report.exports[path].state is ExportState.COMPLETE
            report.without_source[record.source.folder] += _held_bytes(folder) if intact else 0
    return report


def _export_folders(folder: Path, report: ExportsReport) -> Iterator[Path]:
    """Yield the folders with a record, in order, without entering them."""
    if (folder / EXPORT_RECORD).exists():
        yield folder
        return
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    for name in names:
        if is_staging_name(name):
            report.unfinished += 1
        else:
            yield from _export_folders(folder / name, report)


class _Checker:
    """Compares exports with their sources; the units of the last performance are kept, for those of its moments."""

    def __init__(self) -> None:
        self._key: tuple[str, str, str] | None = None
        self._units: dict[tuple[int, ...], Unit] = {}
        self._problem = ""

    def state(self, folder: Path, record: ExportRecord, deep: bool) -> StateResult:
        state = damage(folder, deep=deep)
        if state.state is ExportState.DAMAGED or not os.path.lexists(record.source.folder):
            return state
        try:
            fmt = get_format(record.format)
        except BadRequest as error:
            return StateResult(ExportState.STALE, str(error))
        self._read_units(fmt, record)
        unit = self._units.get(tuple(record.frames))
        if unit is None:
            return StateResult(ExportState.STALE, self._problem or "its source does not have this moment any more")
        return unit_state(unit, fmt, folder)

    def _read_units(self, fmt: Format, record: ExportRecord) -> None:
        key = (record.source.folder, fmt.name, json.dumps(record.options, sort_keys=True))
        if key == self._key:
            return
        self._key, self._units, self._problem = key, {}, ""
        try:
            performance: PublishedPerformance = open_performance(record.source.folder)
            self._units = {unit.frames: unit for unit in fmt.units(performance, recorded_options(record))}
        except (NotExportable, MissingData, DamagedData, BadRequest, OSError) as error:
            self._problem = f"its source has changed: {error}"


def _held_bytes(folder: Path) -> int:
    """Return the bytes of published pictures that the hard links of an export keep on the disk."""
    files = read_file_list(folder, EXPORT_LIST)
    return sum(file.size for file in files if file.hash is None and not (folder / file.path).is_symlink())


def _lines(report: ExportsReport, deep: bool) -> list[str]:
    problems = [f"{escaped(path)}: {each.state.value}: {each.reason}" for path, each in report.problems.items()]
    lines = problems[:_MAX_LINES]
    if len(problems) > _MAX_LINES:
        lines.append(f"and {len(problems) - _MAX_LINES} more; --json lists them all")
    for folder, size in report.without_source.items():
        held = f"; {size_text(size)} of its pictures are not free, since exports hold them by links" if size else ""
        lines.append(f"note: {folder}, which exports were made from, is gone{held}")
    if report.unfinished:
        lines.append(f"note: {report.unfinished} exports were interrupted; the next export removes what they left")
    if any(each.state is ExportState.STALE for each in report.exports.values()):
        lines.append("note: the same `rm360 export` again rebuilds what is stale or damaged, and only that")
    states = Counter(each.state.value for each in report.exports.values())
    counts = ", ".join(f"{states[state.value]} {state.value}" for state in ExportState if states[state.value])
    compared = "every byte of their own" if deep else "names and sizes"
    return [*lines, f"{len(report.exports)} exports: {counts or 'none'} (compared: {compared}, and their sources)"]


def _as_dict(report: ExportsReport, deep: bool) -> dict[str, Any]:
    return {
        "ok": not report.problems,
        "deep": deep,
        "exports": {path: {"state": each.state.value, "reason": each.reason} for path, each in report.exports.items()},
        "without_source": dict(report.without_source),
        "unfinished": report.unfinished,
    }
