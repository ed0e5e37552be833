"""The worker that exports the units of one performance; a picture that crashes its library costs one performance.

Messages: `{"units": n}` once; then `{"next": true}`, which a line on standard input answers with the number of a unit,
empty when none is left, since several workers may do one performance; for each unit
`{"unit": place, "state": "written" | "unchanged" | "failed", ...}`; `{"note": text}`; `{"skipped": reason}` if the
performance does not hold what the format needs; `{"failed": reason}` if it cannot be read; `{"stop": reason}` for what
would meet every other performance too, such as a full disk.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace

from rm360_async.commands.export.job import ExportJob
from rm360_async.dataset import DamagedData, MissingData, open_performance
from rm360_async.domain.errors import BadRequest, Fault, Scope
from rm360_async.export.calibration import require_convention
from rm360_async.export.format import CheckFailed, Format, NotExportable, Unit
from rm360_async.export.formats import get_format
from rm360_async.export.options import ExportOptions
from rm360_async.export.publish import export_unit, remove_leftovers
from rm360_async.export.state import ExportState, StateResult, unit_state
from rm360_async.system.worker import MessageWriter

_READ_ERRORS = (MissingData, DamagedData, BadRequest)


def main(text: str, messages: MessageWriter) -> int:
    """Export the units of a job; see the module for the messages."""
    job = ExportJob.from_json(text)
    fmt = get_format(job.format)
    try:
        performance = open_performance(job.folder)
        if performance.name != job.name:
            raise DamagedData(f"{job.folder} has the marker of {performance.name}; give it that name again")
        units = _with_threads(list(fmt.units(performance, job.options)), job.options)
        require_convention(performance)
    except NotExportable as error:
        messages.send({"skipped": str(error)})
        return 0
    except _READ_ERRORS as error:
        messages.send({"failed": str(error)})
        return 0
    messages.send({"units": len(units)})
    for unit in _assigned(units, messages):
        try:
            _export(unit, fmt, job, messages)
        except Fault as fault:
            if fault.cause.scope is not Scope.PERFORMANCE:
                messages.send({"stop": str(fault)})
                return 0
            messages.send(_failure(unit, str(fault)))
        except (CheckFailed, NotExportable) as error:
            messages.send(_failure(unit, f"not published, since its check failed: {error}"))
        except (*_READ_ERRORS, OSError) as error:
            messages.send(_failure(unit, str(error)))
    return 0


def _with_threads(units: list[Unit], options: ExportOptions) -> list[Unit]:
    """Return the units with a part each of the performance's processors: several workers do several units."""
    threads = max(1, options.threads // max(1, len(units)))
    return [replace(unit, options=replace(unit.options, threads=threads)) for unit in units]


def _assigned(units: Sequence[Unit], messages: MessageWriter) -> Iterator[Unit]:
    """Yield the units whose numbers this worker gets."""
    while True:
        messages.send({"next": True})
        answer = sys.stdin.buffer.readline().strip()
        if not answer:
            return
        yield units[int(answer)]


def _failure(unit: Unit, reason: str) -> dict[str, str]:
    return {"unit": unit.place, "state": "failed", "reason": reason}


def _export(unit: Unit, fmt: Format, job: ExportJob, messages: MessageWriter) -> None:
    final = job.output / unit.place
    for line in remove_leftovers(final):
        messages.send({"note": line})
    state = unit_state(unit, fmt, final)
    if state.state is ExportState.COMPLETE and not job.force:
        messages.send({"unit": unit.place, "state": "unchanged"})
        return
    if state.state is ExportState.FOREIGN and not job.force:
        hint = "choose another --output, move it away, or use --force to replace it"
        messages.send(_failure(unit, f"{final} is already there, and {state.reason}; {hint}"))
        return
    record, moved = export_unit(unit, fmt, job.output)
    for line in moved.messages if moved is not None else ():
        messages.send({"note": line})
    messages.send(
        {
            "unit": unit.place,
            "state": "written",
            "reason": _reason(state),
            "views": record.views,
            "files": record.files,
            "links": record.links,
            "bytes": record.bytes,
            "notes": record.notes,
        }
    )


def _reason(state: StateResult) -> str:
    return "" if state.state is ExportState.ABSENT else f"{state.state.value}: {state.reason}".removesuffix(": ")
