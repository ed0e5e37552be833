"""Run the extraction's steps for what they read, not for what they write."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from rm360_async.domain.errors import BadRequest, Fault
from rm360_async.domain.names import Modality
from rm360_async.extraction.context import ExtractionContext, ModalityResult
from rm360_async.extraction.copier import Copied, Item
from rm360_async.extraction.extract import chosen_cameras, require_known
from rm360_async.extraction.job import ExtractJob
from rm360_async.extraction.metadata import gather, give_verdict, write_metadata
from rm360_async.extraction.modalities.registry import STEPS, carry_out
from rm360_async.extraction.previous import PreviousFolder
from rm360_async.smc import Blob, SmcPair, UnreadableData, check, read_audio
from rm360_async.store import ListedFile
from rm360_async.system.fault_points import reach
from rm360_async.system.spans import Span
from rm360_async.system.sparse_file import Hole, SparseFile

Judge = Callable[[Blob], None]


class _Sink(io.RawIOBase):
    """A file that takes everything and keeps nothing."""

    def __init__(self) -> None:
        self._at = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        size = memoryview(data).nbytes  # type: ignore[arg-type]
        self._at += size
        return size

    def tell(self) -> int:
        return self._at


class _Nowhere:
    """A folder that takes everything and keeps nothing."""

    path = Path(os.devnull)

    def write(self, relative: str, data: bytes) -> None:
        pass

    def link(self, source: Path, listed: ListedFile) -> None:
        pass

    @contextmanager
    def open(self, relative: str) -> Iterator[IO[bytes]]:
        yield _Sink()  # type: ignore[misc]


class _Passing:
    """Lets every picture pass: that it was located is all that is needed here, or that it is `whole` as fetched."""

    def __init__(self, judge: Judge | None) -> None:
        self._judge = judge

    def run(self, items: Iterable[Item]) -> Iterator[Copied]:
        for item in items:
            refused = item.blob.reason if isinstance(item.blob, UnreadableData) else None
            if self._judge is not None and isinstance(item.blob, Blob) and item.blob.data is None:
                self._judge(item.blob)
            yield Copied(item.camera, item.frame, refused)

    def require_room(self, size: int) -> None:
        pass

    def progress(self) -> None:
        pass


def _hear(work: ExtractionContext) -> ModalityResult:
    """Read the sound, which the step itself would also encode."""
    with suppress(UnreadableData):
        if work.source.raw is not None:
            read_audio(work.source.raw)
    return ModalityResult(Modality.AUDIO)


_STEPS = {**STEPS, Modality.AUDIO: _hear}


def find_broken_spans(job: ExtractJob, raw: SparseFile | None, anno: SparseFile | None) -> dict[int, list[Span]]:
    """Return where pictures lie that are not whole as they were fetched, by the inode of the sparse file.

    No md5 can tell whether that is the file's own damage or the way's.
    """
    found: dict[int, list[Span]] = {}

    def judge(blob: Blob) -> None:
        try:
            check(blob)
        except UnreadableData:
            spans = found.setdefault(os.fstat(blob.descriptor).st_ino, [])
            spans.append((blob.offset, blob.offset + blob.size))

    discover_ranges(job, raw, anno, judge)
    reach("images checked")
    return found


def discover_ranges(
    job: ExtractJob, raw: SparseFile | None, anno: SparseFile | None, judge: Judge | None = None
) -> None:
    """Let the steps of a job note in the sparse files what they need of them; `judge` sees every picture.

    Raises Fault for a file that cannot be extracted at all, as far as can be seen.
    """
    reach("discovery round begun")
    base = PreviousFolder.of(job.base)
    with SmcPair(raw, anno) as source:
        require_known(job, source)
        work = ExtractionContext(
            source, _Nowhere(), _Passing(judge), frozenset(chosen_cameras(job, source, base)), base
        )
        founds: list[ModalityResult] = []
        for modality in _STEPS:
            if modality.value in job.modalities:
                with suppress(UnreadableData, Hole):
                    founds.append(carry_out(work, modality, _STEPS))
        with suppress(Hole):
            facts = gather(work, job.performance, founds)
            give_verdict(work, job.performance, [each.path for each in job.sources], job.cameras, job.modalities, facts)
            write_metadata(work, job.performance, facts)


Look = Callable[[], object]
HEAD_BYTES = 64 * 1024
"""Bytes at the start of a file that every look needs: signature, root group, and what was written first."""


def discovery_rounds(look: Look, files: Sequence[SparseFile]) -> Iterator[None]:
    """Look until nothing of the index is wanting; whoever iterates fetches each file's `index` in between.

    Raises what `look` raises once everything that it asked for is here.
    """
    for file in files:
        file.forget_wishes()
        file.want(0, HEAD_BYTES, index=True)
    while True:
        if any(len(file.index) for file in files):
            yield
        for file in files:
            file.forget_wishes()
        failed: Fault | Hole | BadRequest | None = None
        try:
            look()
        except (Fault, Hole, BadRequest) as error:
            failed = error
        if not any(len(file.index) for file in files):
            if failed is not None:
                raise failed
            return
