"""Find out which bytes an extraction needs: run its steps for what they read, not for what they write."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from rm360_async.domain.errors import BadRequest, Fault
from rm360_async.download.ranges.null_output import NullCopier, NullFolder, OnBlob
from rm360_async.extraction.context import ExtractionContext, ModalityResult
from rm360_async.extraction.job import ExtractJob
from rm360_async.extraction.metadata import add_completeness, collect_metadata, write_metadata
from rm360_async.extraction.modalities.registry import EXTRACTORS, extract_modality
from rm360_async.extraction.previous import PreviousFolder
from rm360_async.extraction.source import chosen_cameras, require_known_content
from rm360_async.smc import Blob, SmcPair, UnreadableData, check_picture
from rm360_async.system.fault_points import reach
from rm360_async.system.spans import Span
from rm360_async.system.sparse_file import MissingBytes, SparseFile

HEAD_BYTES = 64 * 1024
"""At the start of a file; every reading needs them: signature, root group, and what was written first."""


def discovery_rounds(read: Callable[[], object], files: Sequence[SparseFile]) -> Iterator[None]:
    """Call `read` until it lacks nothing of the index; the caller downloads each file's `index` between two rounds.

    Raises what `read` raises once everything that it asked for is here.
    """
    for file in files:
        file.clear_requests()
        file.request(0, HEAD_BYTES, index=True)
    while True:
        if any(len(file.requested_index) for file in files):
            yield
        for file in files:
            file.clear_requests()
        failure: Fault | MissingBytes | BadRequest | None = None
        try:
            read()
        except (Fault, MissingBytes, BadRequest) as error:
            failure = error
        if not any(len(file.requested_index) for file in files):
            if failure is not None:
                raise failure
            return


def discover_ranges(
    job: ExtractJob, raw: SparseFile | None, anno: SparseFile | None, on_blob: OnBlob | None = None
) -> None:
    """Run the steps of a job, which note in the sparse files what they lack of them; `on_blob` sees every image.

    Raises Fault for a file that cannot be extracted at all, as far as its bytes that are here tell.
    """
    reach("discovery round begun")
    previous = PreviousFolder.of(job.previous)
    with SmcPair(raw, anno) as source:
        require_known_content(job, source)
        cameras = frozenset(chosen_cameras(job, source, previous))
        context = ExtractionContext(source, NullFolder(), NullCopier(on_blob), cameras, previous)
        results: list[ModalityResult] = []
        for modality in EXTRACTORS:
            if modality.value in job.modalities:
                with suppress(UnreadableData, MissingBytes):
                    results.append(extract_modality(context, modality))
        with suppress(MissingBytes):
            _read_metadata(job, context, results)


def _read_metadata(job: ExtractJob, context: ExtractionContext, results: Sequence[ModalityResult]) -> None:
    metadata = collect_metadata(context, job.performance, results)
    paths = [source.path for source in job.sources]
    add_completeness(context, job.performance, paths, job.cameras, job.modalities, metadata)
    write_metadata(context, job.performance, metadata)


def find_broken_spans(job: ExtractJob, raw: SparseFile | None, anno: SparseFile | None) -> dict[int, list[Span]]:
    """Return the spans of images that are not whole as downloaded, by the inode of the sparse file.

    Without an md5 of a range it is unknown whether the file itself is damaged or only its download.
    """
    broken: dict[int, list[Span]] = {}

    def check_image(blob: Blob) -> None:
        try:
            check_picture(blob)
        except UnreadableData:
            spans = broken.setdefault(os.fstat(blob.descriptor).st_ino, [])
            spans.append((blob.offset, blob.offset + blob.size))

    discover_ranges(job, raw, anno, check_image)
    reach("images checked")
    return broken
