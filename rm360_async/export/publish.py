"""Write, check and publish one unit: its name appears in one step, and only if it passed."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rm360_async.dataset import DamagedData
from rm360_async.domain.errors import Cause, Fault
from rm360_async.export.calibration import calibration_notes
from rm360_async.export.export_list import write_export_list
from rm360_async.export.format import Format, NotExportable, Unit, shortened
from rm360_async.export.record import ExportRecord, make_record
from rm360_async.store.file_list import EXPORT_RECORD
from rm360_async.store.marker import MARKER
from rm360_async.store.publish import publish
from rm360_async.store.replacement import MovedEntries, remove_staging
from rm360_async.store.seal import make_durable, open_file_system
from rm360_async.store.staging import StagingLock, staged_name, staging_path
from rm360_async.system.fault_points import reach
from rm360_async.system.files import create_file, discard, write_atomically
from rm360_async.system.os_errors import os_fault


def export_unit(unit: Unit, fmt: Format, output: Path) -> tuple[ExportRecord, MovedEntries | None]:
    """Export one unit and return its record, and a person's files that moved from the export that it replaces.

    Whatever has its name is replaced. Raises CheckFailed, Fault, and what reading the source raises; then nothing of
    the new export is left, and what was there before stays.
    """
    started = time.monotonic()
    final = output / unit.place
    _require_not_published(final)
    staging = staging_path(final, secrets.token_hex(4))
    with open_file_system(staging) as file_system:
        try:
            with StagingLock(staging), _file_errors(unit, staging):
                written = fmt.write(unit, staging, unit.options)
                reach("export written")
                written.notes += calibration_notes(unit.performance)
                figures = fmt.check(staging, unit)
                reach("export checked")
                totals = write_export_list(staging)
                record = make_record(unit, fmt, written, figures, totals, time.monotonic() - started)
                create_file(staging / EXPORT_RECORD, record.to_json().encode())
                make_durable(staging, file_system)
                _write_shared_files(fmt.shared_files(staging, unit), output, final)
                moved = publish(staging, final, replace=True)
        except BaseException:
            discard(staging)
            raise
    return record, moved


@contextmanager
def _file_errors(unit: Unit, staging: Path) -> Iterator[None]:
    """Raise an OSError as DamagedData if a published file cannot be read, else as the Fault of a failed write."""
    try:
        yield
    except OSError as error:
        path = Path(os.fsdecode(error.filename)) if error.filename is not None else staging
        if unit.performance.folder in path.parents and error.filename2 is None:  # a failed link names its source, too
            raise DamagedData(f"{path} cannot be read: {error.strerror}") from error
        raise os_fault(error, "write", staging) from error


def _write_shared_files(files: Mapping[str, bytes], output: Path, final: Path) -> None:
    """Write the files that units share, each in one step; raise NotExportable if a neighbour needs another content."""
    for place, content in files.items():
        path = output / place
        if path.is_file() and path.read_bytes() == content:
            continue
        folders = (record.parent for record in final.parent.glob(f"[!.]*/{EXPORT_RECORD}"))
        neighbours = [folder.name for folder in folders if folder != final]
        if path.exists() and neighbours:
            raise NotExportable(
                f"{path} is that of {shortened(sorted(neighbours))}, and this performance needs another: "
                "choose the same --cameras for both, or another --output"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)


def remove_leftovers(final: Path) -> list[str]:
    """Remove what killed exports of one unit have left beside its place; return messages about a person's files."""
    messages: list[str] = []
    for staging in final.parent.glob(f".{final.name}.*.staging"):
        moved = remove_staging(staging, final)
        messages += [] if moved is None else moved.messages
    return messages


def remove_unfinished(place: Path) -> list[str]:
    """Remove what killed exports of any unit of a performance have left at its place; return messages as above."""
    messages: list[str] = []
    folders = [*place.parent.glob(f".{place.name}.*.staging"), *place.glob(".*.staging")]
    for final in {folder.with_name(staged_name(folder.name)) for folder in folders}:
        messages += remove_leftovers(final)
    return messages


def _require_not_published(final: Path) -> None:
    """Raise Fault(IN_THE_WAY) if a published performance has the name of an export: it is never replaced by one."""
    for folder in (final, *final.parents):
        if os.path.lexists(folder / MARKER):
            message = f"{final} cannot be written: {folder} is a published performance"
            raise Fault(Cause.IN_THE_WAY, message, "choose another --output")
