"""Part `big`: a file of 60 cameras and very many tiny frames, and FLAME: time, and memory that stays flat."""

from __future__ import annotations

from pathlib import Path

from benchmarks.inputs import RM360
from benchmarks.table import Bench
from benchmarks.timing import Measurement, measure_command, measure_function

from rm360_async.domain.cameras.rig import rig
from rm360_async.domain.names import Modality, Performance
from rm360_async.smc import Blob, SmcFile
from rm360_async.synthetic.smc_writer import write_smc
from rm360_async.synthetic.spec import SmcSpec

_MB = 1_000_000
_TOLERANCE = 1.15
_RELEASE_FRAMES = 396_000
"""60 cameras x 6,600 frames, as many as the largest file of the release has."""
_MAX_INDEX_SECONDS, _MAX_WORKER_MB, _MAX_FLAME_GROWTH_MB = 60, 500, 10


def measure(bench: Bench) -> None:
    """Add the lines of a file with very many frames, and of FLAME."""
    folder = bench.new_folder("big")
    per_camera = _RELEASE_FRAMES // len(rig()) if bench.full else 200
    small, large = (_write_frames(folder / f"{count}.smc", count) for count in (per_camera // 4, per_camera))
    count = per_camera * len(rig())
    _add_index(bench, large, count)
    before, after = (_extract(bench, path, folder / "out") for path in (small, large))
    _add_growth(bench, f"extract {count // 4:,} and {count:,} frames", before, after)
    bench.add_line(
        f"peak memory of worker and copy processes, {count:,} frames", f"{after.peak_memory / _MB:.0f} MB",
        f"a quarter of them: {before.peak_memory / _MB:.0f} MB",
        f"{(after.peak_memory - before.peak_memory) / _MB:+.0f} MB", f"at most {_MAX_WORKER_MB} MB",
        after.peak_memory <= _MAX_WORKER_MB * _MB,
    )  # fmt: skip
    _add_flame(bench, folder)


def _write_frames(path: Path, count: int) -> Path:
    """Write a file of 60 cameras with `count` tiny frames each."""
    modalities = frozenset({Modality.METADATA, Modality.IMAGES})
    spec = SmcSpec(Performance("0026", "s1_all"), modalities, tuple(rig()), count, scale=1 / 64, distinct_images=1)
    return write_smc(path, spec)


def _add_index(bench: Bench, path: Path, count: int) -> None:
    index = measure_function(lambda: _read_index(path, count))
    wall, cpu = (seconds / count * _RELEASE_FRAMES for seconds in (index.wall, index.cpu))
    scaled = "" if bench.full else f"; for {_RELEASE_FRAMES:,}: {wall:.0f} s"
    met: bool | str = wall <= _MAX_INDEX_SECONDS or ("met in CPU time" if cpu <= _MAX_INDEX_SECONDS else False)
    value, target = f"CPU {index.cpu / count * 1e6:.0f} us a frame", f"at most {_MAX_INDEX_SECONDS} s"
    bench.add_line(f"index of {count:,} frames", f"{index.wall:.1f} s{scaled}", "-", value, target, met)


def _read_index(path: Path, count: int) -> None:
    with SmcFile(path) as file:
        cameras = file.cameras.with_part("color")
        frames = sum(isinstance(blob, Blob) for camera in cameras for _, blob in file.blobs("Camera", camera, "color"))
    if frames != count:
        raise ValueError(f"{path} has {frames} frames in its index, not {count}")


def _extract(bench: Bench, path: Path, target: Path) -> Measurement:
    measurement = measure_command([*RM360, "extract", path, "--output", target], with_children=True)
    bench.discard(target)
    return measurement


def _add_growth(bench: Bench, what: str, before: Measurement, after: Measurement) -> None:
    """Compare the CPU time of four times the frames with four times the CPU time."""
    value, limit = after.cpu / before.cpu, 4 * _TOLERANCE
    compared = f"a quarter of it: {before.cpu:.1f} s"
    bench.add_line(what, f"CPU {after.cpu:.1f} s", compared, f"{value:.2f}", f"at most {limit:.1f}", value <= limit)


def _add_flame(bench: Bench, folder: Path) -> None:
    """Stack FLAME, one array in memory at a time: the peak must not grow with the frames."""
    peaks, sizes = [], []
    for frames in (30, 300) if bench.full else (15, 60):
        modalities = frozenset({Modality.METADATA, Modality.FLAME})
        path = write_smc(folder / "flame.smc", SmcSpec(Performance("0026", "e0"), modalities, frames=frames))
        sizes.append(path.stat().st_size / _MB)
        peaks.append(_extract(bench, path, folder / "out").peak_memory / _MB)
        path.unlink()
    growth = peaks[1] - peaks[0]
    bench.add_line(
        f"FLAME of {sizes[0]:.0f} and {sizes[1]:.0f} MB, peak memory", f"{peaks[1]:.0f} MB", f"{peaks[0]:.0f} MB",
        f"{growth:+.0f} MB", f"at most +{_MAX_FLAME_GROWTH_MB} MB", growth <= _MAX_FLAME_GROWTH_MB,
    )  # fmt: skip
