"""`cameras suggest`: a set of cameras chosen by coverage, beside "every k-th camera"."""

from __future__ import annotations

from pathlib import Path

from rm360_async.domain.cameras.coverage import Coverage, coverage
from rm360_async.domain.cameras.rig import rig
from rm360_async.domain.cameras.sets import resolve_cameras
from rm360_async.domain.errors import BadRequest
from rm360_async.visualization.published_folder import open_folder

_COMPARED = {"ring": "cover", "cover": "ring"}
"""The family of sets that a suggestion of one family is compared with."""


def parse_pool(text: str) -> tuple[str, ...]:
    """Return the cameras to choose from: those of a folder, or a selection (`0-30 -12`); "" is the whole rig.

    Raises BadRequest for any other text.
    """
    if not text:
        return tuple(rig())
    if Path(text).is_dir():
        pool = tuple(camera for camera in open_folder(Path(text)).frames if camera in rig())
        if not pool:
            raise BadRequest(f"{text} has no images of any camera")
        return pool
    try:
        return resolve_cameras(text, rig())
    except BadRequest as error:
        raise BadRequest(f"--from {text}: no folder and no selection of cameras: {error}") from error


def every_kth(pool: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Return every k-th camera of the pool, as people select cameras by hand."""
    return pool[:: max(1, len(pool) // count)][:count]


def suggestion_text(count: int, pool: tuple[str, ...], family: str = "ring") -> tuple[str, tuple[str, ...]]:
    """Return the suggestion as text, and its cameras; `family` is ring, cover, face or front.

    Raises BadRequest for an impossible number.
    """
    if not 1 <= count <= len(rig()):
        raise BadRequest(f"{count} is not a number of cameras (1 to {len(rig())})")
    name = f"{family}:{count}"
    chosen = resolve_cameras(name, pool)
    rows = [(name, chosen, coverage(chosen))]
    if len(chosen) < len(pool):
        if other := _COMPARED.get(family):
            others = resolve_cameras(f"{other}:{count}", pool)
            rows.append((f"{other}:{count}", others, coverage(others)))
        kth = every_kth(pool, count)
        rows.append((f"every k={max(1, len(pool) // count)}", kth, coverage(kth)))
    rows.append(("all of them", pool, coverage(pool)))
    lines = [] if count <= len(pool) else [f"only {len(pool)} cameras are there to choose from"]
    lines += [f"{name} of {len(pool)} cameras: {' '.join(chosen)}", ""]
    lines.append(f"  {'':<12} {'cameras':>7}  {'gap':>6}  {'worst':>6}  {'mean':>6}  tiers")
    lines += [_row_text(label, cameras, covered) for label, cameras, covered in rows]
    lines += [
        "  gap: largest azimuth gap; worst, mean: angle from a camera of the rig to the nearest kept one; degrees",
        "",
        f'config:       cameras: "{name}"',
        f"fixed list:   cameras: [{', '.join(str(int(camera)) for camera in chosen)}]",
    ]
    return "\n".join(lines), chosen


def _row_text(label: str, cameras: tuple[str, ...], covered: Coverage) -> str:
    tiers = ", ".join(f"{count} {tier}" for tier, count in covered.tiers.items())
    return f"  {label:<12} {len(cameras):>7}  {covered.gap:6.1f}  {covered.worst:6.1f}  {covered.mean:6.1f}  {tiers}"
