"""Wall time, CPU time and peak memory of commands and functions."""

from __future__ import annotations

import os
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.memory import memory_with_children, peak_resident

_SAMPLING_SECONDS = 0.02


@dataclass(frozen=True)
class Measurement:
    """Seconds of wall time, seconds of CPU time with that of all descendants, and peak memory in bytes."""

    wall: float
    cpu: float
    peak_memory: int = 0


def measure_command(
    arguments: Sequence[str | Path], env: Mapping[str, str] | None = None, *, with_children: bool = False
) -> Measurement:
    """Run a command to its end.

    Its peak memory is that of its own process, or with `with_children` that of it and all its descendants together, in
    which memory that they share counts once. Raises CalledProcessError when it fails.
    """
    start = time.perf_counter()
    process = subprocess.Popen([str(argument) for argument in arguments], env=env, stdout=subprocess.DEVNULL)
    peak = [0]
    memory = memory_with_children if with_children else peak_resident
    watcher = threading.Thread(target=_keep_highest, args=(process.pid, memory, peak), daemon=True)
    watcher.start()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - start
    watcher.join()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return Measurement(wall, usage.ru_utime + usage.ru_stime, peak[0])


def _keep_highest(pid: int, memory: Callable[[int], int | None], peak: list[int]) -> None:
    """Keep the highest size of a process's memory until the process has ended."""
    while (size := memory(pid)) is not None:
        peak[0] = max(peak[0], size)
        time.sleep(_SAMPLING_SECONDS)


def measure_function(function: Callable[[], object]) -> Measurement:
    """Run a function in this process."""
    start, cpu = time.perf_counter(), _cpu_seconds()
    function()
    return Measurement(time.perf_counter() - start, _cpu_seconds() - cpu)


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def alternate(
    rounds: int, sides: Mapping[str, Callable[[], Measurement]], prepare: Callable[[], None] = lambda: None
) -> dict[str, list[Measurement]]:
    """Measure every side once a round, in turns, so that a change of the machine's load meets all of them.

    `prepare` runs before each measurement, and once at the end.
    """
    measurements: dict[str, list[Measurement]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            prepare()
            measurements[name].append(side())
    prepare()
    return measurements


def median(measurements: Sequence[Measurement], quantity: str = "wall") -> float:
    """Return the median of a quantity."""
    value: float = statistics.median(getattr(each, quantity) for each in measurements)
    return value


def wall_text(measurements: Sequence[Measurement]) -> str:
    """Return the median wall time with the lowest and highest, e.g. `1.17 s (1.02-1.31)`."""
    walls = [each.wall for each in measurements]
    spread = f" ({min(walls):.2f}-{max(walls):.2f})" if len(walls) > 1 else ""
    return f"{median(measurements):.2f} s{spread}"
