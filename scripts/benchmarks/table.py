"""The table of a benchmark: what was measured, what it is compared with, its target, and whether it is met."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from benchmarks.timing import Measurement, median, wall_text

_SMALL_FILE_BYTES = 2**16
_HEAD = "| part | what | measured | compared with | value | target | |\n|---|---|---|---|---|---|---|"


@dataclass
class Bench:
    """The folder to work in, whether at full size, the rounds to count, and the lines of the table so far."""

    folder: Path
    full: bool
    rounds: int
    part: str = ""
    lines: list[str] = field(default_factory=list)
    missed: int = 0

    def __post_init__(self) -> None:
        self.machine = describe_machine(self.folder)
        self._discarded = self.folder / "discarded"
        self._discarded.mkdir()

    def new_folder(self, name: str) -> Path:
        """Return a new empty folder of this name; discard an earlier one."""
        self.discard(self.folder / name)
        (self.folder / name).mkdir()
        return self.folder / name

    def discard(self, *paths: Path) -> None:
        """Truncate large files of paths that are not needed any more, and move the paths away until the end.

        They are not removed, because ext4 does not reuse an inode for some minutes, but looks at each that was freed:
        creating a file takes 0.6 ms instead of 0.02 ms where a thousand files have just been removed.
        """
        for path in paths:
            if path.exists():
                _truncate_files(path)
                path.rename(Path(tempfile.mkdtemp(dir=self._discarded)) / path.name)

    def start_part(self, name: str) -> None:
        """Discard what the part before has left; the lines that follow belong to this part."""
        self.part = name
        self.discard(*(path for path in self.folder.iterdir() if path != self._discarded))

    def add_ratio(
        self, what: str, measured: Sequence[Measurement], reference: Sequence[Measurement], name: str, at_most: float
    ) -> None:
        """Compare the ratio of the median wall times with a target; `name` says what the reference is."""
        value = median(measured) / median(reference)
        compared = f"{name}: {wall_text(reference)}"
        self.add_line(what, wall_text(measured), compared, f"{value:.2f}", f"at most {at_most:g}", value <= at_most)

    def add_speedup(
        self, what: str, measured: Sequence[Measurement], reference: Sequence[Measurement], name: str, at_least: float
    ) -> None:
        """Compare how many times faster than the reference it is with a target."""
        value = median(reference) / median(measured)
        compared, target = f"{name}: {wall_text(reference)}", f"at least {at_least:g} x faster"
        self.add_line(what, wall_text(measured), compared, f"{value:.0f} x faster", target, value >= at_least)

    def add_seconds(self, what: str, measured: Sequence[Measurement], at_most: float) -> None:
        """Compare the median wall time with a target; the CPU time decides while other programs use the machine."""
        wall, cpu = median(measured), median(measured, "cpu")
        met: bool | str = wall <= at_most
        if not met and cpu <= at_most and is_busy():
            met = "met in CPU time: the machine was busy"
        self.add_line(what, wall_text(measured), "-", f"CPU {cpu:.2f} s", f"at most {at_most:g} s", met)

    def add_line(
        self, what: str, measured: str, compared: str, value: str, target: str, met: bool | str | None
    ) -> None:
        """Add a line and print it; `met` is None where there is no target, and text where it needs a comment."""
        result = met if isinstance(met, str) else {None: "", True: "met", False: "MISSED"}[met]
        self.missed += met is False
        self.lines.append(f"| {self.part} | {what} | {measured} | {compared} | {value} | {target} | {result} |")
        print(self.lines[-1], flush=True)

    def table(self) -> str:
        """Return the whole table below a line about the machine."""
        return "\n".join([self.machine, "", _HEAD, *self.lines])


def _truncate_files(path: Path) -> None:
    """Give back the space of all files below a folder; for small files that is not worth the time."""
    for folder, _, names in os.walk(path):
        for name in names:
            if os.lstat(f"{folder}/{name}").st_size > _SMALL_FILE_BYTES:
                os.close(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW))


def is_busy() -> bool:
    """Return True if more threads want to run than there are cores."""
    return os.getloadavg()[0] > (os.cpu_count() or 1)


def describe_machine(folder: Path) -> str:
    """Return what a reader needs to know about the machine: date, cores, memory, file system, versions, load."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    return (
        f"{datetime.now():%Y-%m-%d}, {os.cpu_count()} cores, {memory:.0f} GB, {_file_system(folder)}, "
        f"Linux {platform.release()}, Python {platform.python_version()}; load {load}"
    )


def _file_system(folder: Path) -> str:
    """Return the kind of a folder's file system, and its device."""
    mounts = [line.split()[:3] for line in Path("/proc/mounts").read_text().splitlines()]
    path = str(folder.resolve())
    above = [mount for mount in mounts if path == mount[1] or path.startswith(mount[1].rstrip("/") + "/")]
    device, _, kind = max(above, key=lambda mount: len(mount[1]), default=["", "", "an unknown file system"])
    return f"{kind} on {device.rsplit('/', 1)[-1]}"


def require_disk(folder: Path, gigabytes: float) -> None:
    """Exit with code 3 and a message when a folder's disk has less free space than needed."""
    free = shutil.disk_usage(folder).free / 1e9
    if free < gigabytes:
        print(f"error: {folder} has {free:.1f} GB free, {gigabytes:g} are needed; see --folder", file=sys.stderr)
        sys.exit(3)


def wait_until(condition: Callable[[], bool], seconds: float = 300.0) -> None:
    """Poll until a condition holds; raise TimeoutError after `seconds`."""
    start = time.perf_counter()
    while not condition():
        if time.perf_counter() - start > seconds:
            raise TimeoutError(f"the condition did not hold within {seconds:.0f} s")
        time.sleep(0.005)
