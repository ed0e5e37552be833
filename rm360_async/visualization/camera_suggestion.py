"""`cameras suggest`: a set chosen by coverage, beside what "every k-th camera" would have given."""

from __future__ import annotations

from pathlib import Path

from rm360_async.domain.cameras.coverage import Coverage, coverage
from rm360_async.domain.cameras.rig import rig
from rm360_async.domain.cameras.set_names import is_named_set
from rm360_async.domain.cameras.sets import resolve_cameras
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.names import camera_id
from rm360_async.visualization.published_folder import open_folder


def parse_pool(given: str) -> tuple[str, ...]:
    """Return the cameras to choose among: those of a folder, of a named set, or ids (`0,6,12`); "" is the whole rig.

    Raises BadRequest for what is none of these.
    """
    if not given:
        return tuple(rig())
    if Path(given).is_dir():
        pool = tuple(camera for camera in open_folder(Path(given)).frames if camera in rig())
        if not pool:
            raise BadRequest(f"{given} has no images of any camera")
        return pool
    if is_named_set(given):
        return resolve_cameras(given, rig())
    try:
        ids = tuple(sorted({camera_id(part.strip()) for part in given.split(",") if part.strip()}))
    except ValueError as error:
        raise BadRequest(f"--from {given}: no folder, no named set, and no ids: {error}") from error
    if unknown := [camera for camera in ids if camera not in rig()]:
        raise BadRequest(f"--from {given}: the rig has no camera {', '.join(unknown)}")
    return ids


def every_kth(pool: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Return every k-th camera of the pool, as people do by hand."""
    return pool[:: max(1, len(pool) // count)][:count]


def suggestion_text(count: int, pool: tuple[str, ...], *, front: bool) -> tuple[str, tuple[str, ...]]:
    """Return the suggestion as text, and its cameras. Raises BadRequest for an impossible number."""
    if not 1 <= count <= len(rig()):
        raise BadRequest(f"{count} is not a number of cameras (1 to {len(rig())})")
    name = f"{'front' if front else 'ring'}:{count}"
    chosen = resolve_cameras(name, pool)
    rows = [(name, chosen, coverage(chosen))]
    if len(chosen) < len(pool):
        plain = every_kth(pool, count)
        rows.append((f"every k={max(1, len(pool) // count)}", plain, coverage(plain)))
    rows.append(("all of them", pool, coverage(pool)))
    lines = [] if count <= len(pool) else [f"only {len(pool)} cameras are there to choose from"]
    lines += [f"{name} of {len(pool)} cameras: {' '.join(chosen)}", ""]
    lines.append(f"  {'':<12} {'cameras':>7}  {'gap':>6}  {'worst':>6}  {'mean':>6}  tiers")
    lines += [_row(label, cameras, found) for label, cameras, found in rows]
    lines += [
        "  gap: largest azimuth gap; worst, mean: angle from a camera of the rig to the nearest kept one; degrees",
        "",
        f'config:       cameras: "{name}"',
        f"fixed list:   cameras: [{', '.join(str(int(camera)) for camera in chosen)}]",
    ]
    return "\n".join(lines), chosen


def _row(label: str, cameras: tuple[str, ...], found: Coverage) -> str:
    tiers = ", ".join(f"{count} {tier}" for tier, count in found.tiers.items())
    return f"  {label:<12} {len(cameras):>7}  {found.gap:6.1f}  {found.worst:6.1f}  {found.mean:6.1f}  {tiers}"
