"""`rm360 extract`: one local file or pair to one folder, extracted and published as a run does it."""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from rm360_async.domain.errors import BadRequest, Fault, Scope
from rm360_async.domain.exit_code import ExitCode
from rm360_async.domain.formatting import size_text
from rm360_async.domain.names import Modality, Performance, Structure, parse_remote_path
from rm360_async.domain.record import Record, SourceFile
from rm360_async.extraction.extract import extract
from rm360_async.extraction.job import ExtractJob
from rm360_async.store.marker import read_marker
from rm360_async.store.publish import publish
from rm360_async.store.replacement import MovedEntries, remove_staging, replaced_folders
from rm360_async.store.seal import open_file_system, seal
from rm360_async.store.staging import StagingLock, staging_path
from rm360_async.system.files import discard


def extract_local(
    raw: Path,
    anno: Path | None,
    output: Path,
    cameras: str | tuple[str, ...],
    modalities: Sequence[Modality] | None,
    *,
    force: bool,
) -> int:
    """Extract and publish one file or pair, print what was written, and return the exit code.

    Raises BadRequest if a file does not exist or the folder may not be written or replaced.
    """
    target = output.parent.resolve() / output.name  # a link above the folder is followed: the user chose it
    for left in replaced_folders(target):
        _print_moved(remove_staging(left, target))
    sources = [path for path in (raw, anno) if path is not None]
    problems = [f"{path}: no such file" for path in sources if not path.is_file()]
    refusal = _refusal(target, sources, force)
    if refusal:
        problems.append(f"{output}: {refusal}")
    if problems:
        raise BadRequest(*problems)
    staging = staging_path(target, secrets.token_hex(4))
    new_parents = [folder for folder in target.parents if not folder.exists()]
    try:
        with StagingLock(staging):
            record = _extract(_extract_job(raw, anno, staging, cameras, modalities), staging)
            moved = publish(staging, target, force)
    except Fault as fault:
        _discard(staging, new_parents)
        if fault.cause.scope is not Scope.PERFORMANCE:
            raise
        print(f"failed: {fault}", file=sys.stderr)
        return ExitCode.SOME_FAILED
    except BaseException:
        _discard(staging, new_parents)
        raise
    _print_result(output, record)
    _print_moved(moved)
    return ExitCode.DONE


def _discard(staging: Path, new_parents: Sequence[Path]) -> None:
    """Remove what a failed extraction left, and the folders that were created for it."""
    discard(staging)
    for folder in new_parents:
        with suppress(OSError):  # something else is in it by now
            folder.rmdir()


def _print_moved(moved: MovedEntries | None) -> None:
    for message in moved.messages if moved is not None else ():
        print(message, file=sys.stderr)


def _extract(job: ExtractJob, staging: Path) -> Record:
    with open_file_system(staging) as file_system, _deferred_interrupt() as raise_if_stopped:
        record = extract(job, on_progress=lambda files, size: raise_if_stopped())
        seal(staging, record, file_system)
        raise_if_stopped()
    return record


@contextmanager
def _deferred_interrupt() -> Iterator[Callable[[], None]]:
    """Give a function that raises KeyboardInterrupt once a stop signal has come; a second signal raises it itself.

    Python loses an exception that a signal handler raises while an object is finalized, and h5py finalizes one for
    every name of an image.
    """
    received: list[signal.Signals] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number))
        if len(received) > 1:
            raise KeyboardInterrupt

    def raise_if_stopped() -> None:
        if received:
            handler = handlers[received[0]]
            if callable(handler):  # the program's handler of TERM remembers which signal it was
                handler(received[0], None)
            raise KeyboardInterrupt

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    watched = [number for number, handler in handlers.items() if handler is not signal.SIG_IGN]
    for number in watched:
        signal.signal(number, note)
    try:
        yield raise_if_stopped
    finally:
        for number in watched:
            signal.signal(number, handlers[number])


def _refusal(target: Path, sources: Sequence[Path], force: bool) -> str:
    """Return why the folder may not be made or replaced, because data would be lost; empty if it may."""
    if not os.path.lexists(target):
        return ""
    if not force:
        return "already exists; choose another folder, or use --force to replace it"
    if target.is_symlink() or not target.is_dir():
        return "exists and is not a folder; choose another name"
    if any(target in path.resolve().parents for path in sources):
        return "contains the file to extract; choose another folder"
    if read_marker(target) is None and any(target.iterdir()):
        return "was not extracted by rm360 (it has no marker), so --force does not replace it; choose another folder"
    return ""


def _extract_job(
    raw: Path,
    anno: Path | None,
    staging: Path,
    cameras: str | tuple[str, ...],
    modalities: Sequence[Modality] | None,
) -> ExtractJob:
    files = [path for path in (raw, anno) if path is not None]
    return ExtractJob(
        performance=_performance_of(raw),
        raw=str(raw.absolute()),
        anno=str(anno.absolute()) if anno else None,
        sources=tuple(SourceFile(str(path.absolute()), path.stat().st_size) for path in files),
        staging=str(staging),
        cameras=cameras,
        modalities=tuple(each.value for each in modalities or Modality),
        damaged="publish",
        verify=True,
    )


def _performance_of(path: Path) -> Performance:
    """Return the performance that the name of a file says; the extraction compares it with the file's attributes."""
    parsed = parse_remote_path(Structure.SINGLE, f"{path.name[:4]}/{path.name}")
    return parsed[0] if parsed else Performance("0000", path.stem)


def _print_result(output: Path, record: Record) -> None:
    print(
        f"{output}: {record.files} files, {size_text(record.bytes)};"
        f" {record.cameras_extracted} cameras, {record.frames} frames; {', '.join(record.modalities)}"
    )
    if record.absent:
        print(f"not in the file: {', '.join(record.absent)}")
    print(f"verdict: {record.verdict}")
    for item in record.left_out:
        print(f"left out: {item}", file=sys.stderr)
