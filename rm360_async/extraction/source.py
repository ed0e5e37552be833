"""The source files of an extraction: whether they hold what the job needs, and which cameras it chooses."""

from __future__ import annotations

from rm360_async.domain.cameras.sets import resolve_cameras
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.terms import ALL
from rm360_async.extraction.job import ExtractJob
from rm360_async.extraction.previous import PreviousFolder
from rm360_async.smc import SmcPair

_ROOT_GROUPS = ("Camera", "Calibration", "Keypoints2d", "Keypoints3d", "FLAME", "UV_texture", "Scan", "ScanMask")


def require_complete_source(job: ExtractJob, source: SmcPair) -> None:
    """Raise Fault(NOT_FETCHED) if a reader asked a sparse source for bytes that were not downloaded."""
    for file in source.files:
        if file.sparse is not None and (len(file.sparse.requested_index) or len(file.sparse.requested_data)):
            raise Fault(Cause.NOT_FETCHED, f"{job.performance} needs more of {file.path.name} than was downloaded")


def require_known_content(job: ExtractJob, source: SmcPair) -> None:
    """Raise Fault(UNREADABLE) for HDF5 files that hold nothing of a performance."""
    if source.has_any_group(_ROOT_GROUPS):
        return
    names = " and ".join(file.path.name for file in source.files)
    raise Fault(
        Cause.UNREADABLE,
        f"{names} is HDF5 but holds nothing of {job.performance} (no {', '.join(_ROOT_GROUPS[:3])} ...)",
        "is it an .smc of RenderMe-360?",
    )


def chosen_cameras(job: ExtractJob, source: SmcPair, previous: PreviousFolder | None = None) -> tuple[str, ...]:
    """Return the chosen cameras, sorted, together with those of the previous folder.

    A selection with a set such as ring:10 is resolved among the cameras with images, everything else among all cameras
    that the source names.
    """
    every = source.all_cameras()
    pool = camera_pool(source) if isinstance(job.cameras, str) and job.cameras != ALL else every
    chosen = set(resolve_cameras(job.cameras, pool))
    return tuple(sorted(chosen | (set() if previous is None else previous.cameras_among(every))))


def camera_pool(source: SmcPair) -> tuple[str, ...]:
    """Return the cameras among which a set of cameras chooses: those with images, or all if none has any."""
    return tuple(source.cameras_with_images() or source.all_cameras())
