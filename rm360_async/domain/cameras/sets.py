"""Named camera sets, resolved against the cameras that a file has.

Ids are not in circular order and cameras stand on four tiers, so "every sixth camera" takes nine of the upper
tier and one other. `ring:N` is chosen by coverage (see `cover_search`), `front:N` by nearness to the front camera.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from rm360_async.domain.cameras.cover_search import best_cover
from rm360_async.domain.cameras.coverage import separation
from rm360_async.domain.cameras.rig import FRONT_CAMERA, S3_CAMERAS, rig
from rm360_async.domain.cameras.set_names import SIZED_SET, TRAIN_SETS, is_named_set, unknown_set_message
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.names import camera_id


def resolve_cameras(spec: str | Sequence[str], present: Iterable[str]) -> tuple[str, ...]:
    """Return the ids of the selected cameras that are present, sorted.

    `spec` is "all", a named set, or a list of ids. A set of N cameras has fewer if fewer are present.
    Raises BadRequest for an unknown set, ValueError for an invalid id.
    """
    available = tuple(sorted(set(present)))
    if not isinstance(spec, str):
        return tuple(sorted({camera_id(camera) for camera in spec} & set(available)))
    if not is_named_set(spec):
        raise BadRequest(unknown_set_message(spec))
    if match := SIZED_SET.fullmatch(spec):
        choose = _ring if match["family"] == "ring" else _front
        return choose(tuple(camera for camera in available if camera in rig()), int(match["count"]))
    if spec == "all":
        return available
    members = set(S3_CAMERAS) if spec in TRAIN_SETS else set(rig()) - set(S3_CAMERAS)
    return tuple(camera for camera in available if camera in members)


def _front(pool: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Return the `count` cameras nearest to the direction of the face, that of the front camera."""
    ids = list(rig())
    angle_to_face = separation()[ids.index(FRONT_CAMERA)]
    return tuple(sorted(sorted(pool, key=lambda camera: angle_to_face[ids.index(camera)])[:count]))


@lru_cache(maxsize=64)
def _ring(pool: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Return `count` cameras of the pool chosen by coverage, with the front camera if it is in the pool."""
    if count >= len(pool):
        return pool
    ids = list(rig())
    indices = np.array([ids.index(camera) for camera in pool], np.intp)
    front = indices[indices == ids.index(FRONT_CAMERA)]
    return tuple(ids[index] for index in sorted(best_cover(indices, front, count)))
