"""Point 2: a file of 60 cameras and very many frames (tiny ones), and FLAME: time, and memory that stays flat."""

from __future__ import annotations

from pathlib import Path

from benchmarks import clock
from benchmarks.clock import Took
from benchmarks.material import RM360
from benchmarks.table import Bench

from rm360_async.domain.cameras.rig import rig
from rm360_async.domain.names import Modality, Performance
from rm360_async.smc import Blob, SmcFile
from rm360_async.synthetic.smc_writer import write_smc
from rm360_async.synthetic.spec import SmcSpec

_MB = 1_000_000
_SLACK = 1.15


def measure(bench: Bench) -> None:
    """Add the lines of the big file, and of FLAME."""
    folder = bench.place("big")
    per_camera = 6600 if bench.full else 200
    small, large = (_frames(folder / f"{count}.smc", count) for count in (per_camera // 4, per_camera))
    count = per_camera * len(rig())
    index = clock.function(lambda: _index(large, count))
    each = index.wall / count * 396_000
    scaled = "" if bench.full else f"; for 396,000: {each:.0f} s"
    cpu = index.cpu / count * 396_000
    met: bool | str = each <= 60 or ("met in CPU" if cpu <= 60 else False)
    shown = f"CPU {index.cpu / count * 1e6:.0f} us a frame"
    bench.line(2, f"index of {count:,} frames", f"{index.wall:.1f} s{scaled}", "-", shown, "at most 60 s", met)
    before, after = (_extracted(bench, path, folder / "out") for path in (small, large))
    _times_four(bench, f"extract {count // 4:,} and {count:,} frames", before, after)
    bench.line(
        2, f"peak memory of the worker, {count:,} frames", f"{after.peak / _MB:.0f} MB",
        f"a quarter of them: {before.peak / _MB:.0f} MB", f"{(after.peak - before.peak) / _MB:+.0f} MB",
        "at most 500 MB", after.peak <= 500 * _MB,
    )  # fmt: skip
    _flame(bench, folder)


def _frames(path: Path, count: int) -> Path:
    modalities = frozenset({Modality.METADATA, Modality.IMAGES})
    performance = Performance("0026", "s1_all")
    return write_smc(
        path,
        SmcSpec(
            performance, modalities=modalities, cameras=tuple(rig()), frames=count, scale=1 / 64, distinct_images=1
        ),
    )


def _index(path: Path, count: int) -> None:
    with SmcFile(path) as file:
        cameras = file.cameras.having("color")
        found = sum(isinstance(blob, Blob) for each in cameras for _, blob in file.blobs("Camera", each, "color"))
    if found != count:
        raise ValueError(f"{path} has {found} frames in its index, not {count}")


def _extracted(bench: Bench, path: Path, target: Path) -> Took:
    took = clock.command([*RM360, "extract", path, "--output", target])
    bench.set_aside(target)
    return took


def _times_four(bench: Bench, what: str, before: Took, after: Took) -> None:
    """Four times the frames must not cost more than four times the CPU."""
    value = after.cpu / before.cpu
    bench.line(
        2, what, f"CPU {after.cpu:.1f} s", f"a quarter of it: {before.cpu:.1f} s",
        f"{value:.2f}", f"at most {4 * _SLACK:.1f}", value <= 4 * _SLACK,
    )  # fmt: skip


def _flame(bench: Bench, folder: Path) -> None:
    """Stack FLAME with one array in memory: the peak must not grow with the frames."""
    peaks, sizes = [], []
    for frames in (30, 300) if bench.full else (15, 60):
        modalities = frozenset({Modality.METADATA, Modality.FLAME})
        path = write_smc(folder / "flame.smc", SmcSpec(Performance("0026", "e0"), modalities, frames=frames))
        sizes.append(path.stat().st_size / _MB)
        peaks.append(_extracted(bench, path, folder / "out").peak / _MB)
        path.unlink()
    grown = peaks[1] - peaks[0]
    bench.line(
        2, f"FLAME of {sizes[0]:.0f} and {sizes[1]:.0f} MB, peak memory", f"{peaks[1]:.0f} MB", f"{peaks[0]:.0f} MB",
        f"{grown:+.0f} MB", "at most +10 MB", grown <= 10,
    )  # fmt: skip
