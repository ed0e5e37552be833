"""Check exported FLAME fits: the numbers of the right frame, and the head where the landmarks are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rm360_async.dataset import PublishedPerformance
from rm360_async.domain.cameras.rig import Array
from rm360_async.export.format import CheckFailed
from rm360_async.export.point_cloud import head_centre_of

MAX_HEAD_DISTANCE_M = 0.12
"""Between the middle of the fitted head and that of the landmarks, or the point that the cameras look at."""
_SAME = {"expr": "exp", "shape": "shape", "rotation": "global_pose", "jaw_pose": "jaw_pose", "neck_pose": "neck_pose"}


def check_fits(
    performance: PublishedPerformance, fits: Mapping[int, Mapping[str, NDArray[Any]]]
) -> dict[str, float | int | str]:
    """Compare the fits by frame, as they were written, with the stored arrays; return the figures. Raises CheckFailed.

    The stored arrays are read here by themselves, not by the reading API.
    """
    with np.load(performance.folder / "flame" / "all_frames.npz") as archive:
        names = sorted({"frames", "verts", *_SAME.values()} & set(archive.files))
        stored = {name: archive[name] for name in names}
    rows = {int(frame): row for row, frame in enumerate(stored["frames"].reshape(-1).tolist())}
    worst = 0.0
    for frame, fit in sorted(fits.items()):
        if frame not in rows:
            raise CheckFailed(f"the source has no FLAME fit of frame {frame}")
        source = {name: values[rows[frame]] for name, values in stored.items() if name != "frames"}
        _require_same(frame, fit, source)
        worst = max(worst, _head_distance(performance, frame, fit, source))
    if worst > MAX_HEAD_DISTANCE_M:
        raise CheckFailed(f"the FLAME head is {worst:.2f} m from the landmarks (limit {MAX_HEAD_DISTANCE_M} m)")
    return {"flame_fits": len(fits), "flame_head_distance_m": round(worst, 4)}


def _require_same(frame: int, fit: Mapping[str, NDArray[Any]], source: Mapping[str, NDArray[Any]]) -> None:
    """Raise CheckFailed if the numbers of a fit are not those of the frame, followed by zeros."""
    for written_name, stored_name in _SAME.items():
        expected = np.asarray(source[stored_name], np.float64).reshape(-1)
        written = np.asarray(fit[written_name], np.float64).reshape(-1)
        same = np.allclose(written[: len(expected)], expected, rtol=1e-5, atol=1e-6)
        if not same or written[len(expected) :].any():
            raise CheckFailed(f"{written_name} of frame {frame} is not the {stored_name} of this frame")


def _head_distance(
    performance: PublishedPerformance, frame: int, fit: Mapping[str, NDArray[Any]], source: Mapping[str, NDArray[Any]]
) -> float:
    """Return how far the vertices, moved by the written translation, are from the head in metres."""
    if "verts" not in source:
        return 0.0
    middle = np.asarray(source["verts"], np.float64).reshape(-1, 3).mean(axis=0) + fit["translation"].reshape(3)
    return float(np.linalg.norm(middle - _head_of(performance, frame)))


def _head_of(performance: PublishedPerformance, frame: int) -> Array:
    if frame in performance.keypoints3d_frames:
        return np.asarray(performance.keypoints3d(frame).mean(axis=0))
    return head_centre_of(performance)
