"""Time, CPU and memory of commands and functions, in turns; and the page cache out of the way."""

from __future__ import annotations

import ctypes
import os
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Took:
    """Wall and CPU seconds (with those of all children), and peak resident bytes of the process itself."""

    wall: float
    cpu: float
    peak: int = 0


def command(arguments: Sequence[str | Path], env: Mapping[str, str] | None = None) -> Took:
    """Run a command to its end; raises CalledProcessError when it fails."""
    start = time.perf_counter()
    process = subprocess.Popen([str(each) for each in arguments], env=env, stdout=subprocess.DEVNULL)
    peak: list[int] = [0]
    watcher = threading.Thread(target=_watch, args=(process.pid, peak), daemon=True)
    watcher.start()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - start
    watcher.join()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return Took(wall, used.ru_utime + used.ru_stime, peak[0])


def _watch(pid: int, peak: list[int]) -> None:
    """Keep the highest resident size of one process; that of its children is theirs."""
    while (size := resident(pid, "VmHWM")) is not None:
        peak[0] = max(peak[0], size)
        time.sleep(0.02)


def resident(pid: int, key: str = "VmRSS") -> int | None:
    """Return a process's resident bytes, None when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{key}:")]
    return int(found[0]) * 1024 if found else None


def function(work: Callable[[], object]) -> Took:
    """Run a function of this process."""
    start, cpu = time.perf_counter(), _cpu()
    work()
    return Took(time.perf_counter() - start, _cpu() - cpu)


def _cpu() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def in_turns(
    rounds: int, works: Mapping[str, Callable[[], Took]], before: Callable[[], None] = lambda: None
) -> dict[str, list[Took]]:
    """Run each of the works once a round, after `before`."""
    found: dict[str, list[Took]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            before()
            found[name].append(work())
    before()
    return found


def middle(rounds: Sequence[Took], what: str = "wall") -> float:
    """Return the median of the rounds."""
    found: float = statistics.median(getattr(each, what) for each in rounds)
    return found


def spread(rounds: Sequence[Took]) -> str:
    """Return the lowest and highest wall time, e.g. `(1.02-1.31)`; "" for a single round."""
    walls = [each.wall for each in rounds]
    return f"({min(walls):.2f}-{max(walls):.2f})" if len(walls) > 1 else ""


def forget(path: Path) -> bool:
    """Have the kernel drop a file's pages from its cache; False when it will not."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return _cached(descriptor) < 0.05
    finally:
        os.close(descriptor)


def _cached(descriptor: int) -> float:
    """Return the share of a file that is in the page cache."""
    size = os.fstat(descriptor).st_size
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    address = libc.mmap(None, size, 1, 1, descriptor, 0)  # to be read, shared; mmap's own pages are not touched
    pages = (ctypes.c_ubyte * (-(-size // os.sysconf("SC_PAGE_SIZE"))))()
    libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), pages)
    libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(size))
    return sum(page & 1 for page in pages) / len(pages)


def sync(folder: Path) -> None:
    """Write everything of the folder's file system to its disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        ctypes.CDLL(None).syncfs(descriptor)
    finally:
        os.close(descriptor)
