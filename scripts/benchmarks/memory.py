"""Memory of running processes, from /proc."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def resident(pid: int) -> int | None:
    """Return the resident bytes of a process, None when it has ended."""
    return _field(Path(f"/proc/{pid}/status"), "VmRSS")


def peak_resident(pid: int) -> int | None:
    """Return the highest number of resident bytes that a process has had, None when it has ended."""
    return _field(Path(f"/proc/{pid}/status"), "VmHWM")


def memory_with_children(pid: int) -> int | None:
    """Return the memory of a process and its descendants in bytes, None when the process has ended.

    It is the sum of their proportional set sizes: a page that several processes share, as after a fork, counts once.
    """
    own = _field(Path(f"/proc/{pid}/smaps_rollup"), "Pss")
    if own is None:
        return None
    return own + sum(_field(Path(f"/proc/{child}/smaps_rollup"), "Pss") or 0 for child in _descendants(pid))


def _descendants(pid: int) -> Iterator[int]:
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in tasks.read_text().split()]
        except OSError:  # the thread or the process has just ended
            continue
        for child in children:
            yield child
            yield from _descendants(child)


def _field(file: Path, key: str) -> int | None:
    """Return a size in bytes from a file of /proc, None when the process has ended."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), None)
