"""Part `extract`: one full-resolution file against the usual way, a floor and `cp`; the start-up."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.inputs import RM360, decode_and_encode, write_full_resolution, write_single_frame
from benchmarks.page_cache import drop_from_cache, sync_file_system
from benchmarks.table import Bench
from benchmarks.timing import (
    Measurement,
    alternate,
    measure_command,
    measure_function,
    median,
)

from rm360_async.store.file_list import read_file_list

_MIN_SPEEDUP = 100


def measure(bench: Bench) -> None:
    """Add the lines of the extraction of a full-resolution file."""
    folder = bench.new_folder("extract")
    source = write_full_resolution(folder / "0018_s3_all_raw.smc", 1500 if bench.full else 300)
    single, target = write_single_frame(folder / "0018_e1_raw.smc"), folder / "out"

    def prepare() -> None:
        bench.discard(target)
        sync_file_system(folder)

    startup = alternate(2 * bench.rounds + 1, {"": lambda: _extract(single, target)}, prepare)[""]
    bench.add_seconds("start-up of `extract`: a file of one frame", startup, 0.5)
    _extract(source, target)
    files = [(file.path, (target / file.path).read_bytes()) for file in read_file_list(target)]
    frames = sum(path.startswith("images/") for path, _ in files)
    sides = {
        "extract": lambda: _extract(source, target),
        "floor": lambda: measure_function(lambda: _write_from_memory(target, files)),
    }
    warm = alternate(bench.rounds, sides, prepare)
    size = f"{source.stat().st_size / 1e6:.0f} MB, {frames} frames"
    _add_usual_way(bench, source, warm, frames)
    _add_floor(bench, f"extract {size}, warm, without the start-up", warm, startup, frames)
    _add_cold(bench, source, target, size)


def _extract(source: Path, target: Path) -> Measurement:
    return measure_command([*RM360, "extract", source, "--output", target])


def _write_from_memory(target: Path, files: list[tuple[str, bytes]]) -> None:
    """Write the same bytes to as many files, and sync them the same way."""
    folders: set[str] = set()
    for name, data in files:
        path = f"{target}/{name}"
        folder = os.path.dirname(path)  # noqa: PTH120 (a Path for each file would not be a floor)
        if folder not in folders:
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103
            folders.add(folder)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        os.write(descriptor, data)
        os.close(descriptor)
    sync_file_system(target)


def _add_usual_way(bench: Bench, source: Path, warm: dict[str, list[Measurement]], frames: int) -> None:
    """Compare the time a frame with that of decoding and encoding some frames, not synced."""
    sample = 100 if bench.full else 15
    target = bench.new_folder("usual")
    usual = measure_function(lambda: decode_and_encode(source, target, sample)).wall / sample * 1000
    bench.discard(target)
    extract, floor = (median(warm[side]) / frames * 1000 for side in ("extract", "floor"))
    compared = f"h5py, imdecode, imwrite, not synced: {usual:.1f} ms ({sample} frames); floor: {usual / floor:.0f} x"
    bench.add_line(
        "extract, a frame, start-up and sync included", f"{extract:.2f} ms", compared,
        f"{usual / extract:.0f} x faster", f"at least {_MIN_SPEEDUP} x faster", usual / extract >= _MIN_SPEEDUP,
    )  # fmt: skip


def _add_floor(
    bench: Bench, what: str, warm: dict[str, list[Measurement]], startup: list[Measurement], frames: int
) -> None:
    """Compare wall and CPU time, both without the start-up, with writing the same files from memory."""
    rest = [Measurement(each.wall - median(startup), each.cpu - median(startup, "cpu")) for each in warm["extract"]]
    bench.add_ratio(what, rest, warm["floor"], "the same files from memory, synced", 1.15)
    cpu, floor = (median(side, "cpu") / frames * 1000 for side in (rest, warm["floor"]))
    bench.add_line("CPU a frame", f"{cpu:.2f} ms", f"from memory: {floor:.2f} ms", f"{cpu / floor:.2f}", "-", None)


def _add_cold(bench: Bench, source: Path, target: Path, size: str) -> None:
    """Compare an extraction with the file not in the page cache with `cp` of the file."""
    dropped: list[bool] = []

    def prepare() -> None:
        bench.discard(target)
        sync_file_system(source.parent)
        dropped.append(drop_from_cache(source))

    measurements = alternate(
        bench.rounds, {"extract": lambda: _extract(source, target), "cp": lambda: _copy(source, target)}, prepare
    )
    note = "" if all(dropped) else " (the page cache could not be dropped: warm)"
    name = "`cp` of the file, synced"
    bench.add_ratio(f"extract {size}, cold{note}", measurements["extract"], measurements["cp"], name, 0.7)


def _copy(source: Path, target: Path) -> Measurement:
    target.mkdir()
    return measure_command(["sh", "-c", f"cp '{source}' '{target}/copy' && sync -f '{target}/copy'"])
