"""Extract the .smc files of one performance into a staging folder; synchronous, runs in a worker process.

Uses neither ledger nor config. The modalities are extracted in their order, metadata last because it describes the
results of the others. A frame that is broken in the source is left out and named; a modality that the source does not
hold is absent, which is not a failure. The folder is neither sealed nor published here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from rm360_async import __version__
from rm360_async.domain.cameras.sets import is_chosen_among_present
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Modality
from rm360_async.domain.record import LeftOut, Record
from rm360_async.extraction.check import check_output
from rm360_async.extraction.context import ExtractionContext, ModalityResult
from rm360_async.extraction.copier import Copier
from rm360_async.extraction.job import ExtractJob
from rm360_async.extraction.metadata import CollectedMetadata, add_completeness, collect_metadata, write_metadata
from rm360_async.extraction.modalities.registry import EXTRACTORS, extract_modality, start_modalities
from rm360_async.extraction.previous import PreviousFolder
from rm360_async.extraction.source import camera_pool, chosen_cameras, require_complete_source, require_known_content
from rm360_async.smc import SmcPair, UnreadableData
from rm360_async.store.staging import StagingFolder
from rm360_async.system.fault_points import reach
from rm360_async.system.files import discard

OnProgress = Callable[[int, int], None]
_log = logging.getLogger(__name__)
_MAX_UNPACK_FACTOR = 10
"""Output bytes per source byte: stored images do not shrink, sound is written three times."""
_MIN_OUTPUT_LIMIT_BYTES = 64 * 2**20
"""Output that any source may give, however small it is."""
_MAX_LEFT_OUT = 200_000
"""More broken entries than a performance of an hour has images per camera; the record names each."""


@dataclass
class _Results:
    """The results of the modalities so far, and the seconds that each step took."""

    modalities: list[ModalityResult] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        return tuple(item for result in self.modalities for item in result.left_out)


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    """Note the seconds that the block took."""
    start = time.perf_counter()
    yield
    seconds[step] = round(time.perf_counter() - start, 3)


def extract(job: ExtractJob, on_progress: OnProgress = lambda files, size: None) -> Record:
    """Fill the job's staging folder and return its record; `on_progress` gets the files and bytes written so far.

    Raises Fault: UNREADABLE (a source cannot be opened, or holds nothing of a performance), DAMAGED (nothing of it
    is intact; or anything is broken and `job.damaged` is "fail"), UNKNOWN (what was written does not read back), and
    the faults of writing. On any failure the staging folder is removed. Raises BadRequest for an unknown camera set.
    """
    reach("extraction begun")
    if job.raw is None and job.anno is None:
        raise Fault(Cause.UNREADABLE, f"{job.performance} has no file to extract")
    results = _Results()
    with _timed(results.seconds, "open"):
        source = SmcPair(job.raw, job.anno)
    reach("source opened")
    with source:
        require_known_content(job, source)
        with StagingFolder(Path(job.staging)) as folder:
            try:
                return _fill(job, source, folder, results, on_progress)
            except Exception:
                discard(folder.path)
                raise


def _fill(
    job: ExtractJob, source: SmcPair, folder: StagingFolder, results: _Results, on_progress: OnProgress
) -> Record:
    max_bytes = _MAX_UNPACK_FACTOR * sum(file.size for file in source.files) + _MIN_OUTPUT_LIMIT_BYTES
    with Copier(folder, on_progress, max_bytes) as copier:
        previous = PreviousFolder.of(job.previous)
        reach("previous folder read")
        cameras = chosen_cameras(job, source, previous)
        context = ExtractionContext(source, folder, copier, frozenset(cameras), previous, job.ffmpeg)
        start_modalities(context, (modality for modality in EXTRACTORS if modality.value in job.modalities))
        _extract_modalities(job, context, results)
        _require_intact(job, results)
        metadata = _write_metadata(job, context, results)
        require_complete_source(job, source)
        _require_content(job, folder)
        if job.verify:
            with _timed(results.seconds, "verify"):
                check_output(folder, results.modalities)
            reach("files checked")
        with _timed(results.seconds, "list"):
            folder.write_list()
        copier.report_progress()
        record = _record(job, folder, results, metadata)
        pool = camera_pool(source) if is_chosen_among_present(job.cameras) else ()
        return replace(record, resolved_cameras=cameras, camera_pool=pool)


def _extract_modalities(job: ExtractJob, context: ExtractionContext, results: _Results) -> None:
    for modality in EXTRACTORS:
        if modality.value not in job.modalities:
            continue
        with _timed(results.seconds, modality.value):
            try:
                result = extract_modality(context, modality)
            except UnreadableData as error:  # not even the index of this modality can be read
                result = ModalityResult(modality)
                result.leave_out("", None, error.reason)
        reach(f"{modality.value} extracted")
        context.copier.report_progress()
        results.modalities.append(result)
        for note in result.notes:
            _log.warning("%s: %s", job.performance, note)


def _write_metadata(job: ExtractJob, context: ExtractionContext, results: _Results) -> CollectedMetadata:
    """Collect the metadata, and write info.json if it is wanted."""
    metadata = collect_metadata(context, job.performance, results.modalities)
    if isinstance(job.cameras, tuple) and (missing := sorted(set(job.cameras) - context.cameras)):
        metadata.warnings.append(f"wanted, but not in the source: cameras {', '.join(missing)}")
    with _timed(results.seconds, "verdict"):
        paths = [source.path for source in job.sources]
        add_completeness(context, job.performance, paths, job.cameras, job.modalities, metadata)
    if Modality.METADATA.value in job.modalities:
        with _timed(results.seconds, "metadata"):
            write_metadata(context, job.performance, metadata)
        reach("metadata written")
    return metadata


def _require_intact(job: ExtractJob, results: _Results) -> None:
    """Raise Fault(DAMAGED) if nothing that is stored is intact, or if anything is broken and that is to fail."""
    left_out = results.left_out
    if not left_out:
        return
    if len(left_out) > _MAX_LEFT_OUT:
        raise Fault(Cause.DAMAGED, f"{job.performance} is damaged in its source: {len(left_out)} entries are broken")
    images = next((result for result in results.modalities if result.modality is Modality.IMAGES), None)
    nothing = not any(result.files for result in results.modalities)
    no_images = images is not None and images.stored and not images.files
    if nothing or no_images or job.damaged == "fail":
        extent = "all of it" if nothing else "all images" if no_images else f"{len(left_out)} of its entries"
        raise Fault(
            Cause.DAMAGED,
            f"{job.performance} is damaged in its source: {extent} broken, first {left_out[0]}",
            "processing.damaged: publish extracts what is intact" if not (nothing or no_images) else "",
        )


def _require_content(job: ExtractJob, folder: StagingFolder) -> None:
    """Raise Fault(NOT_FOUND) if nothing was written: an empty folder would look like a success."""
    if not folder.files:
        cameras = job.cameras if isinstance(job.cameras, str) else ", ".join(job.cameras)
        what = f"{', '.join(job.modalities)} (cameras: {cameras})"
        message = f"{job.performance} has nothing of what is asked for: {what}"
        raise Fault(Cause.NOT_FOUND, message, "`rm360 inspect` shows what its file holds")


def _record(job: ExtractJob, folder: StagingFolder, results: _Results, metadata: CollectedMetadata) -> Record:
    written = [result.modality.value for result in results.modalities if result.files]
    if Modality.METADATA.value in job.modalities:
        written.insert(0, Modality.METADATA.value)
    return Record(
        subject=job.performance.subject,
        performance=job.performance.name,
        version=__version__,
        published=datetime.now().astimezone().isoformat(timespec="seconds"),
        sources=job.sources,
        wanted_cameras=job.cameras,
        wanted_modalities=job.modalities,
        modalities=tuple(written),
        absent=metadata.absent,
        cameras=metadata.cameras,
        frames=metadata.frames,
        fps=metadata.fps,
        left_out=metadata.left_out,
        files=folder.files,
        bytes=folder.bytes,
        fetched=job.fetched,
        sizes=_bytes_by_modality(folder),
        seconds=results.seconds,
        verdict=str(metadata.verdict or ""),
        audio_seconds=metadata.audio_seconds,
    )


def _bytes_by_modality(folder: StagingFolder) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for path, size in folder.sizes.items():
        modality = path.partition("/")[0]
        sizes[modality] = sizes.get(modality, 0) + size
    return sizes
