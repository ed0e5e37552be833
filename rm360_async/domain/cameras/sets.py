"""Named camera sets, resolved against the cameras that a file really has.

Ids are not in circular order and cameras stand on four tiers, so "every sixth camera" looks down on
everybody. `ring:N` is chosen by coverage (see `cover_search`), `front:N` by nearness to the front camera.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from rm360_async.domain.cameras.cover_search import best_cover
from rm360_async.domain.cameras.coverage import separation
from rm360_async.domain.cameras.rig import FRONT_CAMERA, S3_CAMERAS, rig
from rm360_async.domain.cameras.set_names import SIZED, TRAIN, is_named_set, unknown_set_message
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.names import camera_id


def resolve_cameras(spec: str | Sequence[str], present: Iterable[str]) -> tuple[str, ...]:
    """Return the ids of the wanted cameras that are present, sorted.

    `spec` is "all", a named set, or a list of ids. A set of N cameras has fewer where fewer are present.
    Raises BadRequest for a name that is no set, ValueError for an id that is none.
    """
    here = tuple(sorted(set(present)))
    if not isinstance(spec, str):
        return tuple(sorted({camera_id(camera) for camera in spec} & set(here)))
    if not is_named_set(spec):
        raise BadRequest(unknown_set_message(spec))
    if match := SIZED.fullmatch(spec):
        choose = _ring if match["family"] == "ring" else _front
        return choose(tuple(camera for camera in here if camera in rig()), int(match["count"]))
    if spec == "all":
        return here
    wanted = set(S3_CAMERAS) if spec in TRAIN else set(rig()) - set(S3_CAMERAS)
    return tuple(camera for camera in here if camera in wanted)


def _front(pool: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Return the `count` cameras nearest to the direction in which the face looks, that of the front camera."""
    ids = list(rig())
    from_face = separation()[ids.index(FRONT_CAMERA)]
    return tuple(sorted(sorted(pool, key=lambda camera: from_face[ids.index(camera)])[:count]))


@lru_cache(maxsize=64)
def _ring(pool: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Return `count` cameras of the pool chosen by coverage, with the front camera when it is in the pool."""
    if count >= len(pool):
        return pool
    ids = list(rig())
    indices = np.array([ids.index(camera) for camera in pool], np.intp)
    front = indices[indices == ids.index(FRONT_CAMERA)]
    return tuple(ids[index] for index in sorted(best_cover(indices, front, count)))
