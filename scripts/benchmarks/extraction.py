"""Point 1: one file to one folder, against the usual way, against its floor, cold against `cp`, and its start-up."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks import clock
from benchmarks.clock import Took, middle
from benchmarks.material import RM360, full_resolution, tiny, usual_way
from benchmarks.table import Bench

from rm360_async.store.file_list import read_file_list


def measure(bench: Bench) -> None:
    """Add the lines of the extraction of a full-resolution file."""
    folder = bench.place("extract")
    source = full_resolution(folder / "0018_s3_all_raw.smc", 1500 if bench.full else 300)
    small, target = tiny(folder / "0018_e1_raw.smc"), folder / "out"

    def clean() -> None:
        bench.set_aside(target)
        clock.sync(folder)

    def ours(path: Path = source) -> Took:
        return clock.command([*RM360, "extract", path, "--output", target])

    start = clock.in_turns(2 * bench.rounds + 1, {"": lambda: ours(small)}, clean)[""]
    bench.seconds(1, "start-up of `extract`: a file of one frame", start, 0.5)
    ours()
    files = [(path, (target / path).read_bytes()) for path, _ in read_file_list(target)]
    frames = sum(path.startswith("images/") for path, _ in files)
    warm = clock.in_turns(
        bench.rounds, {"ours": ours, "floor": lambda: clock.function(lambda: _floor(target, files))}, clean
    )
    _against_the_usual_way(bench, source, warm, frames)
    size = f"{source.stat().st_size / 1e6:.0f} MB, {frames} frames"
    begun = middle(start)
    rest = [Took(each.wall - begun, each.cpu, each.peak) for each in warm["ours"]]
    bench.ratio(1, f"extract {size}, warm, without the start-up", rest, warm["floor"], "from memory, synced", 1.15)
    cpu = (middle(warm["ours"], "cpu") - middle(start, "cpu")) / frames * 1000
    floor = middle(warm["floor"], "cpu") / frames * 1000
    bench.line(1, "CPU a frame", f"{cpu:.2f} ms", f"from memory: {floor:.2f} ms", f"{cpu / floor:.2f}", "-", None)
    _cold(bench, source, target, size)


def _against_the_usual_way(bench: Bench, source: Path, warm: dict[str, list[Took]], frames: int) -> None:
    some = 100 if bench.full else 15
    target = bench.place("usual")
    usual = clock.function(lambda: usual_way(source, target, some))
    bench.set_aside(target)
    a, floor = (middle(warm[side]) / frames * 1000 for side in ("ours", "floor"))
    b = usual.wall / some * 1000
    other = f"h5py, imdecode, imwrite, not synced: {b:.1f} ms ({some} frames); from memory: {b / floor:.0f} x"
    what = "extract, a frame, start-up and sync included"
    bench.line(1, what, f"{a:.2f} ms", other, f"{b / a:.0f} x quicker", "at least 100 x quicker", b / a >= 100)


def _cold(bench: Bench, source: Path, target: Path, size: str) -> None:
    forgotten: list[bool] = []

    def before() -> None:
        bench.set_aside(target)
        clock.sync(source.parent)
        forgotten.append(clock.forget(source))

    works = {
        "ours": lambda: clock.command([*RM360, "extract", source, "--output", target]),
        "cp": lambda: _copied(source, target),
    }
    found = clock.in_turns(bench.rounds, works, before)
    note = "" if all(forgotten) else " (the cache could not be dropped: warm)"
    bench.ratio(1, f"extract {size}, cold{note}", found["ours"], found["cp"], "`cp` of the file, synced", 0.7)


def _copied(source: Path, target: Path) -> Took:
    target.mkdir()
    return clock.command(["sh", "-c", f"cp '{source}' '{target}/copy' && sync -f '{target}/copy'"])


def _floor(target: Path, files: list[tuple[str, bytes]]) -> None:
    """Write the same bytes to as many files, and sync them the same way."""
    made: set[str] = set()
    for path, data in files:
        place = f"{target}/{path}"
        folder = os.path.dirname(place)  # noqa: PTH120 (a Path for each file would not be a floor)
        if folder not in made:
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103
            made.add(folder)
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        os.write(descriptor, data)
        os.close(descriptor)
    clock.sync(target)
