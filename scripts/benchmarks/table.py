"""The table of a benchmark: what was measured, against what, its bar, and whether it is met."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from benchmarks.clock import Took, middle, spread

_SMALL = 2**16
_HEAD = "| point | what | ours | compared with | value | bar | |\n|---|---|---|---|---|---|---|"


@dataclass
class Bench:
    """Where to work, how much, how many counted rounds, and the lines so far."""

    folder: Path
    full: bool
    rounds: int
    lines: list[str] = field(default_factory=list)
    missed: int = 0

    def __post_init__(self) -> None:
        self.machine = machine(self.folder)
        self.aside = self.folder / "aside"
        self.aside.mkdir()

    def place(self, name: str) -> Path:
        """Return a new folder of this name, in the place of any earlier one."""
        self.set_aside(self.folder / name)
        (self.folder / name).mkdir()
        return self.folder / name

    def set_aside(self, *paths: Path) -> None:
        """Empty the files of paths that are not needed any more, and move them out of the way until the end.

        They are not removed: ext4 does not give an inode away again for some minutes, but looks at each that was
        freed, so that making a file costs 0.6 ms instead of 0.02 where a thousand have just been removed.
        """
        for path in paths:
            if path.exists():
                _empty(path)
                path.rename(Path(tempfile.mkdtemp(dir=self.aside)) / path.name)

    def clear(self) -> None:
        """Set everything aside that the part before has left."""
        self.set_aside(*(path for path in self.folder.iterdir() if path != self.aside))

    def ratio(self, point: int, what: str, ours: list[Took], other: list[Took], name: str, bar: float) -> None:
        """Compare medians of rounds in turns; a `bar` below zero asks that ours is at least so many times quicker."""
        a, b = middle(ours), middle(other)
        value, met = (b / a, b / a >= -bar) if bar < 0 else (a / b, a / b <= bar)
        words = f"at least {-bar:g} x quicker" if bar < 0 else f"at most {bar:g}"
        shown = f"{value:.0f} x quicker" if bar < 0 else f"{value:.2f}"
        self.line(point, what, f"{a:.2f} s {spread(ours)}", f"{name}: {b:.2f} s {spread(other)}", shown, words, met)

    def seconds(self, point: int, what: str, ours: list[Took], bar: float, note: str = "") -> None:
        """Compare the median of seconds with a bar; beside others on a busy machine, the CPU seconds tell as well."""
        wall, cpu = middle(ours), middle(ours, "cpu")
        verdict: bool | str = wall <= bar
        if not verdict and cpu <= bar and busy():
            verdict = "met in CPU: others were at work"
        told = f"{wall:.2f} s {spread(ours)}"
        self.line(point, what, told, note or "-", f"CPU {cpu:.2f} s", f"at most {bar:g} s", verdict)

    def line(self, point: int, what: str, ours: str, other: str, value: str, bar: str, met: bool | str | None) -> None:
        """Add a line and print it; `met` is None where there is no bar."""
        word = "" if met is None else met if isinstance(met, str) else "met" if met else "MISSED"
        self.missed += met is False
        self.lines.append(f"| {point} | {what} | {ours} | {other} | {value} | {bar} | {word} |")
        print(self.lines[-1], flush=True)

    def table(self) -> str:
        """Return the whole table under the machine's words."""
        return "\n".join([self.machine, "", _HEAD, *self.lines])


def _empty(path: Path) -> None:
    """Give the bytes of all files below a folder back; those of small ones are not worth the time."""
    for folder, _, names in os.walk(path):
        for name in names:
            if os.lstat(f"{folder}/{name}").st_size > _SMALL:
                os.close(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW))


def busy() -> bool:
    """Tell whether more wants to run than there are cores."""
    return os.getloadavg()[0] > (os.cpu_count() or 1)


def machine(folder: Path) -> str:
    """Return what a reader must know of where this was measured."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return (
        f"{datetime.now():%Y-%m-%d}, {os.cpu_count()} cores, {memory:.0f} GB, {_file_system(folder)}, "
        f"Linux {platform.release()}, Python {platform.python_version()}; load {load}"
    )


def _file_system(folder: Path) -> str:
    """Return the kind of the file system, and its device."""
    mounts = [line.split()[:3] for line in Path("/proc/mounts").read_text().splitlines()]
    here = str(folder.resolve())
    fits = [each for each in mounts if here == each[1] or here.startswith(each[1].rstrip("/") + "/")]
    device, _, kind = max(fits, key=lambda each: len(each[1]), default=["", "", "an unknown file system"])
    return f"{kind} on {device.rsplit('/', 1)[-1]}"


def require_disk(folder: Path, gigabytes: float) -> None:
    """End with a sentence when there is not enough room."""
    free = shutil.disk_usage(folder).free / 1e9
    if free < gigabytes:
        print(f"error: {folder} has {free:.1f} GB free, this needs {gigabytes:g}; see --folder", file=sys.stderr)
        sys.exit(3)


def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    """Poll until a condition holds; raises TimeoutError when it never does."""
    start = time.perf_counter()
    while not condition():
        if time.perf_counter() - start > seconds:
            raise TimeoutError(f"nothing happened for {seconds:.0f} s")
        time.sleep(0.005)
