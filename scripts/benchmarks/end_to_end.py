"""Point 4: a run of two full-resolution subjects, with no cap and under caps, against floors and the usual way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks import clock
from benchmarks.clock import Took, middle
from benchmarks.material import RM360, config, full_resolution, usual_way
from benchmarks.table import Bench

from rm360_async.download.rclone import find_rclone

_ALLOWED = 3.0
"""Seconds that a run under a cap may take beside 1.05 times the download."""


def measure(bench: Bench) -> None:
    """Add the lines of whole runs."""
    folder = bench.place("overlap")
    remote = folder / "remote"
    sources = [
        full_resolution(remote / subject / f"{subject}_s3_all_raw.smc", 1200 if bench.full else 100, subject)
        for subject in ("0018", "0019")
    ]
    # one download at a time: a cap is each rclone's own, and two at once would have twice as much
    path, env = config(folder, remote, processing={"downloads": 1})
    size = sum(each.stat().st_size for each in sources) / 1e6

    def clean() -> None:
        bench.set_aside(folder / "work", folder / "copied")
        clock.sync(folder)

    works: dict[str, Callable[[], Took]] = {
        "ours": lambda: clock.command([*RM360, "run", path], env),
        "floor": lambda: clock.command(["sh", "-c", _floor(folder)], env),
    }
    found = clock.in_turns(bench.rounds, works, clean)
    what = f"run, two files, {size:.0f} MB, no cap"
    bench.ratio(4, what, found["ours"], found["floor"], "`rclone copy`, then `cp`, synced", 1.3)
    usual = _usual(bench, folder, env, sources)
    bench.ratio(4, what, found["ours"], [usual], "download all, then decode and encode", -15)
    clean()
    for cap in (20, 50, 100) if bench.full else (50,):
        _capped(bench, path, {**env, "RCLONE_BWLIMIT": f"{cap}M"}, cap, clean)


def _floor(folder: Path) -> str:
    copied, again = folder / "copied" / "once", folder / "copied" / "twice"
    return f"'{find_rclone()}' copy bench: '{copied}' && cp -r '{copied}' '{again}' && sync -f '{again}'"


def _usual(bench: Bench, folder: Path, env: dict[str, str], sources: list[Path]) -> Took:
    """Return what the usual way would take: its download, and its frames by the speed of some of them."""
    some = 60 if bench.full else 6
    download = clock.command([find_rclone(), "copy", "bench:", folder / "copied"], env)
    frames = clock.function(lambda: usual_way(sources[0], folder / "work", some))
    count = sum(_frames(path) for path in sources) / some
    return Took(download.wall + frames.wall * count, download.cpu + frames.cpu * count)


def _frames(path: Path) -> int:
    from rm360_async.smc import SmcFile

    with SmcFile(path) as file:
        return sum(len(file.frames("Camera", camera, "color").frames) for camera in file.cameras.having("color"))


def _capped(bench: Bench, path: Path, env: dict[str, str], cap: int, clean: Callable[[], None]) -> None:
    works: dict[str, Callable[[], Took]] = {
        "ours": lambda: clock.command([*RM360, "run", path], env),
        "alone": lambda: clock.command([find_rclone(), "copy", "bench:", path.parent / "copied"], env),
    }
    found = clock.in_turns(1 if cap == 20 or not bench.full else bench.rounds, works, clean)
    ours, alone = middle(found["ours"]), middle(found["alone"])
    value = (ours - _ALLOWED) / alone
    bench.line(
        4, f"the same at {cap} MB/s", f"{ours:.2f} s {clock.spread(found['ours'])}",
        f"the download alone: {alone:.2f} s {clock.spread(found['alone'])}",
        f"{value:.2f} after {_ALLOWED:g} s", "at most 1.05", value <= 1.05,
    )  # fmt: skip
