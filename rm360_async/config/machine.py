"""What the machine gives to this process: cores and memory, less where a container or a batch system bounds them.

Control groups (cgroups(7)) bound both: version 2 in `cpu.max` and `memory.max` of one tree, version 1 in trees by
controller. A bound holds for everything below, so the lowest on the way to the root counts.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_UNBOUNDED_BYTES = 2**60
"""Version 1 writes a number near 2**63 where nothing is bounded."""


@dataclass(frozen=True)
class Machine:
    """The files that tell; a test has others."""

    groups: Path = Path("/proc/self/cgroup")
    group_tree: Path = Path("/sys/fs/cgroup")
    meminfo: Path = Path("/proc/meminfo")

    def cores(self) -> int:
        """Return the number of cores that this process may use, at least 1: its affinity, or the quota of its group."""
        quotas = [math.ceil(quota) for quota in self._core_quotas()]
        return max(1, min([len(os.sched_getaffinity(0)), *quotas]))

    def memory_bytes(self) -> int | None:
        """Return the memory of the machine, or the lower bound of the process's group; None if it is unknown."""
        return min([*self._memory_bounds(), *self._total_memory()], default=None)

    def _core_quotas(self) -> Iterator[float]:
        for folder in self._folders("cpu"):
            quota, period = [*_numbers(folder / "cpu.max"), None, None][:2]
            quota = quota or next(iter(_numbers(folder / "cpu.cfs_quota_us")), None)
            period = period or next(iter(_numbers(folder / "cpu.cfs_period_us")), None)
            if quota and period and quota > 0:
                yield quota / period

    def _memory_bounds(self) -> Iterator[int]:
        for folder in self._folders("memory"):
            for name in ("memory.max", "memory.limit_in_bytes"):
                yield from (value for value in _numbers(folder / name) if value < _UNBOUNDED_BYTES)

    def _total_memory(self) -> Iterator[int]:
        match = re.search(r"MemTotal:\s+(\d+) kB", _text(self.meminfo))
        if match:
            yield int(match[1]) * 1024

    def _folders(self, controller: str) -> Iterator[Path]:
        """Yield the folders of this process's groups that may bound a controller, up to the root of each tree."""
        for line in _text(self.groups).splitlines():
            controllers, _, path = line.partition(":")[2].partition(":")
            if controllers and controller not in controllers.split(","):
                continue
            root = self.group_tree / controllers if controllers else self.group_tree
            folder = root / path.strip("/")
            yield from (each for each in (folder, *folder.parents) if each == root or root in each.parents)


MACHINE = Machine()


def _numbers(path: Path) -> list[int]:
    """Return the numbers at the start of a file; none for a file that says `max`, or that is not there."""
    words = _text(path).split()
    return [int(word) for word in words] if words and all(word.lstrip("-").isdecimal() for word in words) else []


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
