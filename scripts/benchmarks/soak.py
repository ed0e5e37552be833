"""Point 3: the memory of the service itself, without its workers, over very many tiny performances."""

from __future__ import annotations

import subprocess
import time
from itertools import pairwise
from pathlib import Path

from benchmarks.clock import resident
from benchmarks.material import NAMES, RM360, config, tiny, tiny_remote
from benchmarks.table import Bench

from rm360_async.visualization.svg import Drawing
from rm360_async.visualization.theme import INK

_MB = 1_000_000
PLOT = Path("build") / "soak.svg"
_WIDTH, _HEIGHT, _LEFT, _TOP = 720.0, 320.0, 60.0, 40.0
_HIGHEST = 250.0
"""Megabytes at the upper end of the plot; the bar is drawn at 200."""
Sample = tuple[float, float, int]
"""Performances published, megabytes resident, open files."""


def measure(bench: Bench) -> None:
    """Add the line of the soak; the full form draws its memory."""
    folder = bench.place("soak")
    count = 10_000 if bench.full else 76
    remote = folder / "remote"
    planned = len(tiny_remote(remote, tiny(folder / "one.smc"), -(-count // len(NAMES))))
    path, env = config(folder, remote)
    samples = _run(path, env, folder / "work" / "logs")
    highest = max(each[1] for each in samples)
    half = next(each[1] for each in samples if each[0] >= planned / 2 or each is samples[-1])
    files = max(each[2] for each in samples)
    bench.line(
        3, f"memory of the service over {planned:,} performances", f"{highest:.0f} MB at most",
        f"{half:.0f} MB half-way, {samples[-1][1]:.0f} MB at the end", f"{files} open files at most",
        "at most 200 MB", highest <= 200,
    )  # fmt: skip
    if bench.full:
        PLOT.parent.mkdir(exist_ok=True)
        PLOT.write_text(str(plot(samples)))
        print(f"the memory is drawn in {PLOT}")


def _run(path: Path, env: dict[str, str], logs: Path) -> list[Sample]:
    """Run to the end; return samples of the service's own process."""
    samples: list[Sample] = []
    process = subprocess.Popen([*RM360, "run", str(path)], env=env)
    try:
        while process.poll() is None:
            time.sleep(0.5)
            size = resident(process.pid)
            if size is not None:
                samples.append((_published(logs), size / _MB, _open_files(process.pid)))
    finally:
        process.terminate()
        process.wait()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return samples


def _published(logs: Path) -> int:
    return sum(path.read_text().count(" published ") for path in logs.glob("*.log")) if logs.is_dir() else 0


def _open_files(pid: int) -> int:
    try:
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    except (FileNotFoundError, PermissionError):  # it has just ended
        return 0


def plot(samples: list[Sample]) -> Drawing:
    """Draw resident memory over performances published."""
    most = max(each[0] for each in samples) or 1
    drawing = Drawing(_WIDTH, _HEIGHT, "Memory of the service over a soak")

    def place(published: float, megabytes: float) -> tuple[float, float]:
        across, up = _WIDTH - _LEFT - 20, _HEIGHT - _TOP - 50
        return _LEFT + across * published / most, _TOP + up * (1 - megabytes / _HIGHEST)

    for level in range(0, int(_HIGHEST) + 1, 50):
        drawing.line(place(0, level), place(most, level), "#dddddd")
        drawing.text((_LEFT - 8, place(0, level)[1] + 4), str(level), 12, INK, "end")
    drawing.line(place(0, 200), place(most, 200), "#c0392b", 1.5, "6 4")
    for before, after in pairwise(samples):
        drawing.line(place(*before[:2]), place(*after[:2]), "#1f77b4", 1.5)
    drawing.text((_LEFT, 24), "Resident memory of the service, MB (dashed: the bar)", 15, INK, weight="bold")
    drawing.text((_LEFT, _HEIGHT - 14), "0 performances published", 12)
    drawing.text((_WIDTH - 20, _HEIGHT - 14), f"{most:,.0f}", 12, INK, "end")
    return drawing
