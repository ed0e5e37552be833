"""One .smc (or raw and anno pair) to one staged performance; synchronous, runs in a child.

Knows no ledger and no config. Modalities are run in their order, metadata last because it tells what the
others found. A frame that is broken in the source is left out and named; a modality that the source does not
hold is absent, which is no failure. The folder is neither sealed nor published here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from rm360_async import __version__
from rm360_async.domain.cameras.sets import resolve_cameras
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Modality
from rm360_async.domain.record import LeftOut, Record
from rm360_async.extraction.check import verify
from rm360_async.extraction.context import ExtractionContext, ModalityResult
from rm360_async.extraction.copier import Copier
from rm360_async.extraction.job import ExtractJob
from rm360_async.extraction.metadata import Metadata, gather, give_verdict, write_metadata
from rm360_async.extraction.modalities.registry import STEPS, carry_out
from rm360_async.extraction.previous import PreviousFolder
from rm360_async.smc import SmcPair, UnreadableData
from rm360_async.store.staging import StagingFolder, remove_tree
from rm360_async.system.fault_points import reach

OnProgress = Callable[[int, int], None]
_log = logging.getLogger(__name__)
_MOST_UNPACKED = 10
"""Times the size of the source: stored pictures do not shrink, sound is written three times."""
_ALWAYS_ALLOWED = 64 * 2**20
_MOST_LEFT_OUT = 200_000
"""More broken things than a performance of an hour has pictures per camera; the record names each."""
_KNOWN = ("Camera", "Calibration", "Keypoints2d", "Keypoints3d", "FLAME", "UV_texture", "Scan", "ScanMask")


@dataclass
class _Result:
    """What came of the steps so far; `seconds` per step."""

    founds: list[ModalityResult] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        return tuple(item for found in self.founds for item in found.left_out)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[step] = round(time.perf_counter() - start, 3)


def extract(job: ExtractJob, on_progress: OnProgress = lambda files, size: None) -> Record:
    """Fill the job's staging folder and return its record; `on_progress` gets files and bytes written so far.

    Faults: UNREADABLE (a source cannot be opened, or holds nothing of a performance), DAMAGED (nothing of it
    is whole; anything is broken and the job says fail), UNKNOWN (what was written does not read back), and
    those of writing. On any failure the staging folder is removed. BadRequest for a camera set of no such name.
    """
    reach("extraction begun")
    if job.raw is None and job.anno is None:
        raise Fault(Cause.UNREADABLE, f"{job.performance} has no file to extract")
    result = _Result()
    with result.timed("open"):
        source = SmcPair(job.raw, job.anno)
    reach("source opened")
    with source:
        require_known(job, source)
        with StagingFolder(Path(job.staging)) as folder:
            try:
                return _fill(job, source, folder, result, on_progress)
            except Exception:
                with suppress(Fault):  # a sweep finds it too; the first failure is the one to tell
                    remove_tree(folder.path)
                raise


def _fill(job: ExtractJob, source: SmcPair, folder: StagingFolder, result: _Result, on_progress: OnProgress) -> Record:
    most_bytes = _MOST_UNPACKED * sum(file.size for file in source.files) + _ALWAYS_ALLOWED
    with Copier(folder, on_progress, most_bytes) as copier:
        base = PreviousFolder.of(job.base)
        reach("previous folder read")
        chosen = chosen_cameras(job, source, base)
        work = ExtractionContext(source, folder, copier, frozenset(chosen), base)
        _run_steps(job, work, result)
        _judge(job, result)
        facts = gather(work, job.performance, result.founds)
        if isinstance(job.cameras, tuple) and (lacking := sorted(set(job.cameras) - set(chosen))):
            facts.warnings.append(f"wanted, but not in the source: cameras {', '.join(lacking)}")
        with result.timed("verdict"):
            paths = [source.path for source in job.sources]
            give_verdict(work, job.performance, paths, job.cameras, job.modalities, facts)
        if Modality.METADATA.value in job.modalities:
            with result.timed("metadata"):
                write_metadata(work, job.performance, facts)
            reach("metadata written")
        _require_fetched(job, source)
        if job.verify:
            with result.timed("verify"):
                verify(folder, result.founds)
            reach("files checked")
        with result.timed("list"):
            folder.write_list()
        copier.progress()
        return _record(job, folder, result, facts)


def _run_steps(job: ExtractJob, work: ExtractionContext, result: _Result) -> None:
    for modality in STEPS:
        if modality.value not in job.modalities:
            continue
        with result.timed(modality.value):
            try:
                found = carry_out(work, modality)
            except UnreadableData as refusal:  # not even the index of this modality can be read
                found = ModalityResult(modality)
                found.leave_out("", None, refusal.reason)
        reach(f"{modality.value} extracted")
        work.copier.progress()
        result.founds.append(found)
        for note in found.notes:
            _log.warning("%s: %s", job.performance, note)


def _judge(job: ExtractJob, result: _Result) -> None:
    """Raise DAMAGED when nothing that is stored is whole, or when anything is broken and that is to fail."""
    left_out = result.left_out
    if not left_out:
        return
    if len(left_out) > _MOST_LEFT_OUT:
        raise Fault(Cause.DAMAGED, f"{job.performance} is damaged in its source: {len(left_out)} things are broken")
    images = next((found for found in result.founds if found.modality is Modality.IMAGES), None)
    nothing = not any(found.files for found in result.founds)
    no_images = images is not None and images.stored and not images.files
    if nothing or no_images or job.damaged == "fail":
        what = "all of it" if nothing else "all images" if no_images else f"{len(left_out)} of what it holds"
        raise Fault(
            Cause.DAMAGED,
            f"{job.performance} is damaged in its source: {what} broken, first {left_out[0]}",
            "processing.damaged: publish takes what is whole" if not (nothing or no_images) else "",
        )


def _require_fetched(job: ExtractJob, source: SmcPair) -> None:
    """Raise NOT_FETCHED when a sparse source was asked for anything that it does not have."""
    for file in source.files:
        if file.sparse is not None and (len(file.sparse.index) or len(file.sparse.data)):
            raise Fault(Cause.NOT_FETCHED, f"{job.performance} needs more of {file.path.name} than was fetched")


def require_known(job: ExtractJob, source: SmcPair) -> None:
    """Raise Fault(UNREADABLE) for HDF5 that holds nothing of a performance."""
    if source.having_any(_KNOWN):
        return
    names = " and ".join(file.path.name for file in source.files)
    raise Fault(
        Cause.UNREADABLE,
        f"{names} is HDF5 but holds nothing of {job.performance} (no {', '.join(_KNOWN[:3])} ...)",
        "is it an .smc of RenderMe-360?",
    )


def chosen_cameras(job: ExtractJob, source: SmcPair, base: PreviousFolder | None = None) -> tuple[str, ...]:
    """Return the chosen cameras: sets such as ring:10 among those with images, else among all that are named.

    Those of the folder that is added to stay chosen.
    """
    named = not isinstance(job.cameras, tuple) and job.cameras != "all"
    with_images = source.cameras_with_images()
    every = source.all_cameras()
    chosen = set(resolve_cameras(job.cameras, with_images if named and with_images else every))
    return tuple(sorted(chosen | (set() if base is None else base.cameras_of(every))))


def _record(job: ExtractJob, folder: StagingFolder, result: _Result, facts: Metadata) -> Record:
    written = [found.modality.value for found in result.founds if found.files]
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
        absent=facts.absent,
        cameras=facts.cameras,
        frames=facts.frames,
        fps=facts.fps,
        left_out=facts.left_out,
        files=folder.files,
        bytes=folder.bytes,
        fetched=job.fetched,
        sizes=_sizes(folder),
        seconds=result.seconds,
        verdict=str(facts.verdict or ""),
    )


def _sizes(folder: StagingFolder) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for path, size in folder.sizes.items():
        modality = path.partition("/")[0]
        sizes[modality] = sizes.get(modality, 0) + size
    return sizes
