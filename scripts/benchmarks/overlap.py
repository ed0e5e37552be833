"""Part `overlap`: a run of two full-resolution files, with no cap and under caps, against the usual way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.inputs import RM360, decode_and_encode, write_config, write_full_resolution
from benchmarks.page_cache import sync_file_system
from benchmarks.table import Bench
from benchmarks.timing import (
    Measurement,
    alternate,
    measure_command,
    measure_function,
    median,
    wall_text,
)

from rm360_async.download.rclone import find_rclone
from rm360_async.smc import SmcFile

_ALLOWED_SECONDS = 3.0
"""What a run under a cap may take beside `_MAX_CAPPED_RATIO` times the download."""
_MAX_CAPPED_RATIO = 1.05


def measure(bench: Bench) -> None:
    """Add the lines of whole runs."""
    folder = bench.new_folder("overlap")
    remote = folder / "remote"
    sources = [
        write_full_resolution(remote / subject / f"{subject}_s3_all_raw.smc", 1200 if bench.full else 100, subject)
        for subject in ("0018", "0019")
    ]
    config, env = write_config(folder, remote)
    size = sum(source.stat().st_size for source in sources) / 1e6

    def prepare() -> None:
        bench.discard(folder / "work", folder / "copied")
        sync_file_system(folder)

    sides: dict[str, Callable[[], Measurement]] = {
        "run": lambda: measure_command([*RM360, "run", config], env),
        "floor": lambda: measure_command(["sh", "-c", _floor(folder)], env),
    }
    measurements = alternate(bench.rounds, sides, prepare)
    what = f"run, two files, {size:.0f} MB, no cap"
    bench.add_ratio(what, measurements["run"], measurements["floor"], "`rclone copy`, then `cp`, synced", 1.3)
    usual = _usual_way(folder, env, sources, 60 if bench.full else 6)
    bench.add_speedup(what, measurements["run"], [usual], "download all, then decode and encode", 15)
    prepare()
    for cap in (20, 50, 100) if bench.full else (50,):
        _add_capped(bench, config, {**env, "RCLONE_BWLIMIT": f"{cap}M"}, cap, prepare)


def _floor(folder: Path) -> str:
    """Return the shell command of the floor: download everything, then copy it once."""
    first, second = folder / "copied" / "first", folder / "copied" / "second"
    return f"'{find_rclone()}' copy bench: '{first}' && cp -r '{first}' '{second}' && sync -f '{second}'"


def _usual_way(folder: Path, env: dict[str, str], sources: list[Path], sample: int) -> Measurement:
    """Measure a download, and estimate the usual extraction of all frames from `sample` of them."""
    download = measure_command([find_rclone(), "copy", "bench:", folder / "copied"], env)
    frames = measure_function(lambda: decode_and_encode(sources[0], folder / "work", sample))
    factor = sum(_count_frames(path) for path in sources) / sample
    return Measurement(download.wall + frames.wall * factor, download.cpu + frames.cpu * factor)


def _count_frames(path: Path) -> int:
    with SmcFile(path) as file:
        return sum(len(file.frames("Camera", camera, "color").frames) for camera in file.cameras.with_part("color"))


def _add_capped(bench: Bench, config: Path, env: dict[str, str], cap: int, prepare: Callable[[], None]) -> None:
    """Compare a run under a cap in MiB/s with the download alone."""
    sides: dict[str, Callable[[], Measurement]] = {
        "run": lambda: measure_command([*RM360, "run", config], env),
        "download": lambda: measure_command([find_rclone(), "copy", "bench:", config.parent / "copied"], env),
    }
    measurements = alternate(1 if cap == 20 or not bench.full else bench.rounds, sides, prepare)
    run, download = median(measurements["run"]), median(measurements["download"])
    value = (run - _ALLOWED_SECONDS) / download
    bench.add_line(
        f"the same at {cap} MB/s", wall_text(measurements["run"]),
        f"the download alone: {wall_text(measurements['download'])}",
        f"{value:.2f} after {_ALLOWED_SECONDS:g} s", f"at most {_MAX_CAPPED_RATIO}", value <= _MAX_CAPPED_RATIO,
    )  # fmt: skip
