"""Part `soak`: the memory of the service itself, without its workers, over very many performances of one frame."""

from __future__ import annotations

import subprocess
import time
from itertools import pairwise
from pathlib import Path

from benchmarks.inputs import PERFORMANCES, RM360, link_remote, write_config, write_single_frame
from benchmarks.memory import resident
from benchmarks.table import Bench

from rm360_async.visualization.svg import Drawing
from rm360_async.visualization.theme import INK

_MB = 1_000_000
_MAX_MB = 200
PLOT = Path("build") / "soak.svg"
_WIDTH, _HEIGHT, _LEFT, _TOP = 720.0, 320.0, 60.0, 40.0
_AXIS_MB = 250.0
"""Megabytes at the upper end of the plot."""
Sample = tuple[int, float, int]
"""Number of published performances, resident megabytes, number of open files."""


def measure(bench: Bench) -> None:
    """Add the line of the soak; at full size, draw the memory."""
    folder = bench.new_folder("soak")
    count = 10_000 if bench.full else 76
    remote = folder / "remote"
    planned = len(link_remote(remote, write_single_frame(folder / "single.smc"), -(-count // len(PERFORMANCES))))
    config, env = write_config(folder, remote)
    samples = _run(config, env, folder / "work" / "logs")
    highest = max(megabytes for _, megabytes, _ in samples)
    half_way = next(sample[1] for sample in samples if sample[0] >= planned / 2 or sample is samples[-1])
    files = max(files for _, _, files in samples)
    bench.add_line(
        f"memory of the service over {planned:,} performances", f"{highest:.0f} MB at most",
        f"{half_way:.0f} MB half-way, {samples[-1][1]:.0f} MB at the end", f"{files} open files at most",
        f"at most {_MAX_MB} MB", highest <= _MAX_MB,
    )  # fmt: skip
    if bench.full:
        PLOT.parent.mkdir(exist_ok=True)
        PLOT.write_text(str(plot(samples)))
        print(f"the memory is drawn in {PLOT}")


def _run(config: Path, env: dict[str, str], logs: Path) -> list[Sample]:
    """Run to the end; return samples of the service's process."""
    samples: list[Sample] = []
    process = subprocess.Popen([*RM360, "run", str(config)], env=env)
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
    except (FileNotFoundError, PermissionError):  # the process has just ended
        return 0


def plot(samples: list[Sample]) -> Drawing:
    """Draw resident memory over published performances."""
    most = max(published for published, _, _ in samples) or 1
    drawing = Drawing(_WIDTH, _HEIGHT, "Memory of the service over a soak")

    def position(published: float, megabytes: float) -> tuple[float, float]:
        width, height = _WIDTH - _LEFT - 20, _HEIGHT - _TOP - 50
        return _LEFT + width * published / most, _TOP + height * (1 - megabytes / _AXIS_MB)

    for level in range(0, int(_AXIS_MB) + 1, 50):
        drawing.line(position(0, level), position(most, level), "#dddddd")
        drawing.text((_LEFT - 8, position(0, level)[1] + 4), str(level), 12, INK, "end")
    drawing.line(position(0, _MAX_MB), position(most, _MAX_MB), "#c0392b", 1.5, "6 4")
    for before, after in pairwise(samples):
        drawing.line(position(*before[:2]), position(*after[:2]), "#1f77b4", 1.5)
    drawing.text((_LEFT, 24), "Resident memory of the service, MB (dashed: the target)", 15, INK, weight="bold")
    drawing.text((_LEFT, _HEIGHT - 14), "0 performances published", 12)
    drawing.text((_WIDTH - 20, _HEIGHT - 14), f"{most:,.0f}", 12, INK, "end")
    return drawing
