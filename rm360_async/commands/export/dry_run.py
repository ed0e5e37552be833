"""`rm360 export --dry-run`: what would be written, and how long it would take; writes nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rm360_async.dataset import DamagedData, MissingData, PublishedDataset
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.exit_code import ExitCode
from rm360_async.domain.formatting import duration_text, size_text
from rm360_async.export.format import ExportEstimate, Format, NotExportable
from rm360_async.export.options import ExportOptions
from rm360_async.export.state import ExportState, unit_state

_OWN_FILES_PER_UNIT = 2
_FOLDERS_PER_UNIT = 3
_PUBLISH_SECONDS = 0.02
_MAX_LINES = 20


def print_estimate(
    fmt: Format, performances: PublishedDataset, output: Path, options: ExportOptions, workers: int
) -> int:
    """Print how many files, links, bytes and inodes an export takes, and its time; return the exit code."""
    total, states, skipped, units = ExportEstimate(), Counter[str](), Counter[str](), 0
    for performance in performances:
        try:
            for unit in fmt.units(performance, options):
                state = unit_state(unit, fmt, output / unit.place).state
                states[state.value] += 1
                if state is not ExportState.COMPLETE:
                    units += 1
                    total += fmt.estimate(unit) + ExportEstimate(_OWN_FILES_PER_UNIT, seconds=_PUBLISH_SECONDS)
        except (NotExportable, MissingData, DamagedData, BadRequest) as error:
            skipped[str(error)] += 1
    for reason, count in skipped.most_common(_MAX_LINES):
        print(f"skipped: {count} performances: {reason}")
    print(f"{output}: {fmt.name}: " + (", ".join(f"{count} {state}" for state, count in states.items()) or "nothing"))
    soft = total.links if options.images == "soft" else 0
    inodes = total.files + soft + units * _FOLDERS_PER_UNIT
    print(
        f"would write {units} exports: {total.files} files and {total.links} links, {size_text(total.bytes)},"
        f" {inodes} inodes, about {duration_text(total.seconds / workers)} with {workers} processes"
    )
    return ExitCode.DONE if states else ExitCode.SOME_FAILED
