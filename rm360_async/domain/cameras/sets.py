"""Named camera sets, resolved against the cameras that a file has.

Ids are not in circular order and cameras stand on four tiers, so "every sixth camera" takes nine of the upper
tier and one other. `ring:N` is chosen by coverage (see `cover_search`), `cover:N` by coverage with a share for each
height (`spread_search`), `face:N` by nearness to where the face looks, `front:N` by nearness to the front camera.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

import numpy as np

from rm360_async.domain.cameras.cover_search import CameraIndices, best_cover
from rm360_async.domain.cameras.coverage import directions, separation
from rm360_async.domain.cameras.rig import FACE, FRONT_CAMERA, S3_CAMERAS, rig
from rm360_async.domain.cameras.set_names import TEST_SETS, TRAIN_SETS, is_sized_set
from rm360_async.domain.cameras.spread_search import best_spread
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.names import camera_id
from rm360_async.domain.selectors import CAMERAS, UnknownTerm, parse_terms, to_selector
from rm360_async.domain.terms import Selector, combine, members_among, removes


def resolve_cameras(spec: Selector, present: Iterable[str]) -> tuple[str, ...]:
    """Return the ids of the selected cameras that are present, sorted.

    `spec` is "all", a text with sets ("ring:10 +25 -49"), or a list of ids. A set of N cameras has fewer if fewer are
    present. Raises BadRequest for an unknown set, ValueError for an invalid id.
    """
    available = tuple(sorted(set(present)))
    if not isinstance(spec, str):
        return tuple(sorted({camera_id(camera) for camera in spec} & set(available)))
    return _combined(_terms(spec), available)


def explicitly_selected(wanted: Selector, pool: tuple[str, ...]) -> frozenset[str]:
    """Return the cameras of the pool that were selected by id or by a fixed set.

    Sets that are chosen among the cameras present (ring:N, face:N ...) select none explicitly, unless they take all.
    """
    if not isinstance(wanted, str):
        return frozenset(resolve_cameras(wanted, pool))

    def is_explicit(term: str) -> bool:
        return removes(term) or not is_sized_set(term) or len(resolve_cameras(term, pool)) == len(set(pool))

    return frozenset(_combined(filter(is_explicit, _terms(wanted)), tuple(sorted(set(pool)))))


def is_chosen_among_present(spec: Selector) -> bool:
    """Return True if a selection has a set, such as ring:N, that depends on which cameras are present."""
    return isinstance(spec, str) and any(is_sized_set(term.strip("+-")) for term in spec.split())


def _terms(spec: str) -> tuple[str, ...]:
    try:
        terms = to_selector(parse_terms(CAMERAS, spec))
    except UnknownTerm as error:
        raise BadRequest(str(error)) from None
    return (terms,) if isinstance(terms, str) else terms


def _combined(terms: Iterable[str], available: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(combine(terms, lambda body: _members(body, available))))


def _members(body: str, available: tuple[str, ...]) -> Iterable[str]:
    """Return the cameras among those available that one term without sign selects."""
    if is_sized_set(body):
        family, _, count = body.partition(":")
        return _CHOOSE[family](tuple(camera for camera in available if camera in rig()), int(count))
    if body in TRAIN_SETS:
        return set(S3_CAMERAS) & set(available)
    if body in TEST_SETS:
        return (set(rig()) - set(S3_CAMERAS)) & set(available)
    return members_among(available)(body)


def _front(pool: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Return the `count` cameras nearest to the front camera, which stands 13 degrees to the left of the face."""
    ids = list(rig())
    angles = separation()[ids.index(FRONT_CAMERA)]
    return tuple(sorted(sorted(pool, key=lambda camera: angles[ids.index(camera)])[:count]))


def _face(pool: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Return the `count` cameras nearest to where the face looks: azimuth 0, eye level."""
    cosines = dict(zip(rig(), (directions() @ FACE).tolist(), strict=True))
    return tuple(sorted(sorted(pool, key=lambda camera: -cosines[camera])[:count]))


@lru_cache(maxsize=64)
def _ring(pool: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Return `count` cameras of the pool chosen by coverage, with the front camera if it is in the pool."""
    return _searched(best_cover, pool, count)


@lru_cache(maxsize=64)
def _cover(pool: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Return `count` cameras of the pool at all heights, with the front camera if it is in the pool."""
    return _searched(best_spread, pool, count)


def _searched(
    search: Callable[[CameraIndices, CameraIndices, int], CameraIndices], pool: tuple[str, ...], count: int
) -> tuple[str, ...]:
    if count >= len(pool):
        return pool
    ids = list(rig())
    indices = np.array([ids.index(camera) for camera in pool], np.intp)
    front = indices[indices == ids.index(FRONT_CAMERA)]
    return tuple(ids[index] for index in sorted(search(indices, front, count)))


_CHOOSE: dict[str, Callable[[tuple[str, ...], int], tuple[str, ...]]] = {
    "ring": _ring,
    "cover": _cover,
    "face": _face,
    "front": _front,
}
