"""`rm360 extract`: one local file or pair to one folder, with the same extraction and the same publishing."""

from __future__ import annotations

import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rm360_async.domain.errors import BadRequest, Fault, Scope
from rm360_async.domain.formatting import size_text
from rm360_async.domain.names import Modality, Performance, Structure, parse_remote_path
from rm360_async.domain.record import Record, SourceFile
from rm360_async.extraction.extract import extract
from rm360_async.extraction.job import ExtractJob
from rm360_async.store.marker import read_marker
from rm360_async.store.publish import publish
from rm360_async.store.seal import file_system_of, seal
from rm360_async.store.staging import remove_tree, staging_path


def extract_local(
    raw: Path,
    anno: Path | None,
    output: Path,
    cameras: str | tuple[str, ...],
    modalities: Sequence[Modality] | None,
    *,
    force: bool,
) -> int:
    """Extract, publish and say what came out; return the exit code."""
    final = output.parent.resolve() / output.name  # a link above the folder is the user's own choice
    sources = [path for path in (raw, anno) if path is not None]
    problems = [f"{path}: there is no such file" for path in sources if not path.is_file()]
    taken = _taken(final, sources, force)
    if taken:
        problems.append(f"{output}: {taken}")
    if problems:
        raise BadRequest(*problems)
    staging = staging_path(final, secrets.token_hex(4))
    try:
        with file_system_of(staging) as file_system, _stoppable() as look:
            record = extract(_job(raw, anno, staging, cameras, modalities), on_progress=lambda files, size: look())
            seal(staging, record, file_system)
            look()
        publish(staging, final, force)
    except Fault as fault:
        remove_tree(staging)
        if fault.cause.scope is not Scope.PERFORMANCE:
            raise
        print(f"failed: {fault}", file=sys.stderr)
        return 1
    except BaseException:
        remove_tree(staging)
        raise
    _tell(output, record)
    return 0


@contextmanager
def _stoppable() -> Iterator[Callable[[], None]]:
    """Give what raises KeyboardInterrupt once a signal has asked to stop; the second signal raises it itself.

    Python loses one that is raised while it clears up an object, as it does for every picture that h5py names.
    """
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        if len(asked) > 1:
            raise KeyboardInterrupt

    def look() -> None:
        if asked:
            raise KeyboardInterrupt

    answers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    heard = [number for number, answer in answers.items() if answer is not signal.SIG_IGN]
    for number in heard:
        signal.signal(number, note)
    try:
        yield look
    finally:
        for number in heard:
            signal.signal(number, answers[number])


def _taken(final: Path, sources: Sequence[Path], force: bool) -> str:
    """Return why the folder may not be made, or replaced: what it holds would be gone. Empty when it may."""
    if not os.path.lexists(final):
        return ""
    if not force:
        return "exists already; name another folder, or add --force to replace it"
    if final.is_symlink() or not final.is_dir():
        return "is there, and is not a folder; name another one"
    if any(final in path.resolve().parents for path in sources):
        return "holds the file that is to be extracted; name another folder"
    if read_marker(final) is None and any(final.iterdir()):
        return "holds other things than an extraction, which --force would remove; name another folder"
    return ""


def _job(
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
    """Return the performance that the file's name says; the file's own attributes are the extraction's to compare."""
    parsed = parse_remote_path(Structure.SINGLE, f"{path.name[:4]}/{path.name}")
    return parsed[0] if parsed else Performance("0000", path.stem)


def _tell(output: Path, record: Record) -> None:
    print(
        f"{output}: {record.files} files, {size_text(record.bytes)};"
        f" {record.cameras_extracted} cameras, {record.frames} frames; {', '.join(record.modalities)}"
    )
    if record.absent:
        print(f"not in the file: {', '.join(record.absent)}")
    print(f"verdict: {record.verdict}")
    for item in record.left_out:
        print(f"left out: {item}", file=sys.stderr)
