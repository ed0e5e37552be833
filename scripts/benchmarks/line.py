"""Part `line`: how well a run with the default settings fills lines of several kinds, beside `rclone copy`.

A Drive on loopback plays the line: a latency of each request, a rate of each connection, a rate of all together, a
change of it, a limit of bodies at once. `rclone copy` is measured with several numbers of transfers and streams, and
the run is compared with the best of them, which no user could know beforehand.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from benchmarks.inputs import RM360, write_config, write_single_frame
from benchmarks.table import Bench
from benchmarks.timing import Measurement, measure_command, median, wall_text
from drive_emulator import ROOT_ID, Drive, Request, Rule, serve

from rm360_async.download.rclone import find_rclone

MB = 1_000_000
_COPIES = ((4, 4), (8, 16), (12, 16))
"""Transfers, and streams of each, of `rclone copy`; 4 x 4 are its defaults."""
_MAX_BYTES_RATIO, _MAX_REFUSED = 1.02, 1 / 50
_SETTLED_SECONDS = 15.0
"""After it a limit of the remote must be known."""


@dataclass(frozen=True)
class Line:
    """A line, what is downloaded over it, and the target: `ratio` times the best `rclone copy` and `seconds` more.

    `connection`, `width`: bytes a second of one connection, and of all; 0 for no limit. `narrow`: the width in every
    other 5 seconds.
    """

    name: str
    latency: float
    connection: int
    width: int
    ratio: float
    seconds: float
    narrow: int = 0
    bodies: int = 0
    files: int = 12
    megabytes: int = 41
    copies: Sequence[tuple[int, int]] = _COPIES
    keeps_knee: bool = False


LINES = (
    Line("thin connections, 2 of 40 MB/s", 0.12, 2 * MB, 40 * MB, 1.15, 3),
    Line("one connection fills 40 MB/s", 0.12, 0, 40 * MB, 1.15, 3),
    Line("300 ms a request, 2 of 40 MB/s", 0.3, 2 * MB, 40 * MB, 1.25, 4),
    Line("40 MB/s, 10 in every other 5 s", 0.12, 2 * MB, 40 * MB, 1.2, 4, narrow=10 * MB),
    Line("at most 6 bodies of 2 MB/s", 0.12, 2 * MB, 0, 1.5, 8, bodies=6, files=20, copies=((6, 0),)),
    Line("small files of 20 MB, 2 of 40 MB/s", 0.12, 2 * MB, 40 * MB, 1.15, 3, files=24, megabytes=20),
    Line("a file of 1 GB, 2 of 40 MB/s", 0.12, 2 * MB, 40 * MB, 1.15, 3, files=1, megabytes=1000),
    Line(
        "two files of 1 GB, the number known", 0.12, 2 * MB, 40 * MB, 1.05, 0, files=2, megabytes=1000, keeps_knee=True
    ),
)


def measure(bench: Bench) -> None:
    """Add a line for each kind of line."""
    for line in LINES if bench.full else (LINES[0], LINES[1], LINES[4]):
        _measure_line(bench, line)


def _measure_line(bench: Bench, line: Line) -> None:
    folder = bench.new_folder("line")
    size = _write_files(folder / "remote", line)
    with serve(folder / "remote", folder / "drive") as drive, _playing(drive, line):
        env = {**os.environ, **drive.env()}
        drive_keys: dict[str, object] = {"remote_name": "gdrive", "root_folder_id": ROOT_ID}
        config, _ = write_config(
            folder,
            folder / "remote",
            google_drive=drive_keys,
            extraction={"subjects": "all", "modalities": ["metadata"]},
            processing={"fetch": "whole", "retry_delay": 1},
        )
        if line.keeps_knee:
            measure_command([*RM360, "run", config], env)
        runs: list[Measurement] = []
        copies: dict[tuple[int, int], list[Measurement]] = {numbers: [] for numbers in line.copies}
        requests: list[Request] = []
        for _ in range(bench.rounds):
            drive.log.clear()
            runs.append(measure_command([*RM360, "run", config, "--force"], env))
            requests = drive.media("*")
            _forget(bench, folder, keep_ledger=line.keeps_knee)
            for numbers, measurements in copies.items():
                measurements.append(measure_command(_copy(folder, numbers), env))
                bench.discard(folder / "copied")
    best = min(copies, key=lambda numbers: median(copies[numbers]))
    target = line.ratio * median(copies[best]) + line.seconds
    bench.add_line(
        line.name, wall_text(runs), f"`rclone copy` {best[0]} x {best[1]}: {wall_text(copies[best])}",
        f"{median(runs) / median(copies[best]):.2f}", f"at most {target:.1f} s", median(runs) <= target,
    )  # fmt: skip
    _add_bytes(bench, line, requests, size, runs, copies[best])


def _add_bytes(
    bench: Bench,
    line: Line,
    requests: list[Request],
    size: int,
    runs: Sequence[Measurement],
    copies: Sequence[Measurement],
) -> None:
    """Add what crossed the line in the last run, and what of it was refused."""
    ratio = sum(request.sent for request in requests) / size
    began = min(request.began for request in requests)
    settled = [request for request in requests if request.began > began + _SETTLED_SECONDS]
    refused = sum(request.status >= 400 for request in settled)
    share = refused / len(settled) if settled else 0.0
    met = ratio <= _MAX_BYTES_RATIO and share <= _MAX_REFUSED
    cpu = f"CPU {median(runs, 'cpu'):.1f} s, extraction included; `rclone copy` {median(copies, 'cpu'):.1f} s"
    bench.add_line(
        f"{line.name}: bytes", f"{ratio:.3f} of the files'", cpu, f"{refused} of {len(settled)} refused after 15 s",
        f"at most {_MAX_BYTES_RATIO} and one in 50", met,
    )  # fmt: skip


def _write_files(remote: Path, line: Line) -> int:
    """Write valid files that end in random bytes; return the size of all of them."""
    folder, size = remote / "0018", line.megabytes * MB
    folder.mkdir(parents=True)
    single = write_single_frame(remote.parent / "single.smc").read_bytes()
    tail = os.urandom(size - len(single))
    for name in [*(f"e{number}" for number in range(12)), *(f"s{number}_all" for number in range(1, 20))][: line.files]:
        with (folder / f"0018_{name}_raw.smc").open("wb") as file:
            file.write(single)
            file.write(tail)
    return size * line.files


def _copy(folder: Path, numbers: tuple[int, int]) -> list[str | Path]:
    transfers, streams = (str(number) for number in numbers)
    chunks = ("--multi-thread-cutoff", "8M", "--multi-thread-chunk-size", "8M") if numbers != _COPIES[0] else ()
    options = ("--transfers", transfers, "--multi-thread-streams", streams, *chunks)
    return [find_rclone(), "copy", "gdrive:", folder / "copied", "--drive-root-folder-id", ROOT_ID, *options]


def _forget(bench: Bench, folder: Path, *, keep_ledger: bool) -> None:
    """Discard what a run has left; with the ledger it would remember how many connections the line needs."""
    if not keep_ledger:
        bench.discard(folder / "work")


@contextmanager
def _playing(drive: Drive, line: Line) -> Iterator[None]:
    """Let the Drive play the line for the length of the block."""
    drive.rules = [Rule("latency", op="any", seconds=line.latency)]
    drive.rules += [Rule("slow", bps=line.connection)] if line.connection else []
    drive.line_rate, drive.max_bodies = line.width, line.bodies
    ended = threading.Event()
    changing = threading.Thread(target=_change, args=(drive, line, ended.wait), daemon=True)
    if line.narrow:
        changing.start()
    try:
        yield
    finally:
        ended.set()


def _change(drive: Drive, line: Line, wait: Callable[[float], bool]) -> None:
    while not wait(5 - time.monotonic() % 5):
        drive.line_rate = line.narrow if drive.line_rate == line.width else line.width
