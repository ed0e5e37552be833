"""Which views a program trains on and which it is tested with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rm360_async.domain.cameras.cover_search import best_cover
from rm360_async.domain.cameras.rig import FRONT_CAMERA, S3_CAMERAS, rig
from rm360_async.export.format import NotExportable
from rm360_async.export.options import held_out_count

MIN_TRAINING_CAMERAS = 2


@dataclass(frozen=True)
class Split:
    """Cameras to train on and to test with; every camera is in one of them."""

    train: tuple[str, ...]
    test: tuple[str, ...]


def split_cameras(cameras: Sequence[str], split: str) -> Split | None:
    """Return the split of the cameras of an export; None for `none`.

    `bench` is that of the official benchmark: it trains on 38 cameras and tests with the other 22, so all 60 must be
    there. `hold:N` tests with N cameras that cover the rig, never the front camera. Raises NotExportable.
    """
    if split == "none":
        return None
    count = held_out_count(split)
    test = _held_out(cameras, count) if count is not None else _benchmark(cameras)
    return Split(tuple(camera for camera in cameras if camera not in test), tuple(sorted(test)))


def _benchmark(cameras: Sequence[str]) -> set[str]:
    missing = sorted(set(rig()) - set(cameras))
    if missing:
        hint = "use --split hold:N"
        raise NotExportable(f"--split bench needs all 60 cameras, and {len(missing)} are not there; {hint}")
    return set(rig()) - set(S3_CAMERAS)


def _held_out(cameras: Sequence[str], count: int) -> set[str]:
    ids = list(rig())
    pool = [camera for camera in cameras if camera in ids and camera != FRONT_CAMERA]
    if len(cameras) - count < MIN_TRAINING_CAMERAS or count > len(pool):
        raise NotExportable(f"--split hold:{count} leaves too few of {len(cameras)} cameras to train on")
    indices = np.array([ids.index(camera) for camera in pool], np.intp)
    return {ids[index] for index in best_cover(indices, np.array([], np.intp), count)}
