"""The verdict on an extraction: what was found, by what its release is known to hold."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from rm360_async.catalog import Modality, Performance
from rm360_async.geometry.checks import CalibrationReport, check_calibration
from rm360_async.modalities.metadata import Metadata
from rm360_async.modalities.work import Work
from rm360_async.release import Extracted, judge
from rm360_async.smc import Refusal, image_size, read_calibration


def give_verdict(
    work: Work,
    performance: Performance,
    sources: Iterable[str],
    wanted_cameras: str | tuple[str, ...],
    wanted: Collection[str],
    facts: Metadata,
) -> None:
    """Fill in the verdict of what `gather` counted, and the report on the calibration where that is wanted."""
    facts.calibration = _calibration(work, facts) if Modality.CALIBRATION.value in wanted else None
    report = facts.calibration
    failed = [] if report is None else [f"{check.name}: {check.sentence}" for check in report.failures]
    facts.verdict = judge(
        Extracted(
            performance,
            tuple(sources),
            wanted_cameras,
            frozenset(map(Modality, wanted)),
            frozenset(map(Modality, facts.absent)),
            facts.stored if Modality.IMAGES.value in wanted else {},
            work.cameras,
            facts.left_out,
            facts.fps,
            facts.fps_note,
            failed,
            facts.says,
        )
    )


def _calibration(work: Work, facts: Metadata) -> CalibrationReport | None:
    """Return the checks of the calibration; None when there is none, which is the contract's to judge."""
    file = work.source.having("Calibration")
    if file is None:
        return None
    try:
        cameras, _ = read_calibration(file)
    except Refusal:  # the modality itself has left it out and says so
        return None
    matrices = {camera: {"K": one.K, "D": one.D, "RT": one.RT} for camera, one in cameras.items()}
    sizes = (image_size(each, part) for each in work.source.files[::-1] for part in ("color", "mask"))
    return check_calibration(matrices, next((size for size in sizes if size), None), work.cameras & facts.stored.keys())
