"""Point 6: a run over HTTPS from a Drive on loopback at 1, 4 and 16 times the work: straight lines."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from benchmarks import clock
from benchmarks.clock import Took
from benchmarks.material import RM360, config, tiny, tiny_remote
from benchmarks.table import Bench
from drive_emulator import ROOT_ID, serve

_TIMES = (1, 4, 16)
_BEND = 1.25
"""How much more each further performance may cost between 4 and 16 times the work than between 1 and 4 times."""


@dataclass(frozen=True)
class Cost:
    """What a run of some performances took, and its requests."""

    took: Took
    requests: int


def measure(bench: Bench) -> None:
    """Add the lines of the growing work."""
    unit = 6 if bench.full else 1
    costs = [_run(bench, unit * times) for times in _TIMES]
    names = ", ".join(str(unit * times) for times in _TIMES)
    walls, cpus, peaks, requests = (
        [each.took.wall for each in costs],
        [each.took.cpu for each in costs],
        [each.took.peak / 1e6 for each in costs],
        [float(each.requests) for each in costs],
    )
    for what, figures, unit_name, judged in (
        ("wall", walls, "s", False),
        ("CPU", cpus, "s", True),
        ("requests", requests, "", True),
    ):
        first, then = _slopes(figures, unit)
        bend = then / first if first > 0 else 1.0
        bar = f"at most {_BEND}" if judged else "-"
        told = ", ".join(f"{each:.1f}" if unit_name else f"{each:.0f}" for each in figures)
        each = f"{first:.2f}, then {then:.2f} {unit_name}".strip() + " for each more"
        bench.line(6, f"run of {names} performances: {what}", f"{told} {unit_name}".strip(), each, f"{bend:.2f}",
                   bar, bend <= _BEND if judged else None)  # fmt: skip
    grown = peaks[-1] - peaks[0]
    told = ", ".join(f"{each:.0f}" for each in peaks)
    bench.line(6, f"run of {names} performances: peak memory of the service", f"{told} MB", "-", f"{grown:+.0f} MB",
               "at most +10 MB", grown <= 10)  # fmt: skip


def _slopes(figures: list[float], unit: int) -> tuple[float, float]:
    """Return the cost of one more performance up to 4 times the work, and from there on."""
    one, four, sixteen = figures
    return (four - one) / (3 * unit), (sixteen - four) / (12 * unit)


def _run(bench: Bench, count: int) -> Cost:
    folder = bench.place("growth")
    remote = folder / "remote"
    names = [f"h1_{number}bk" for number in range(count)]
    tiny_remote(remote, tiny(folder / "one.smc"), 1, names)
    path, _ = config(folder, remote, google_drive={"remote_name": "gdrive", "root_folder_id": ROOT_ID})
    with serve(remote, folder / "drive") as drive:
        took = clock.command([*RM360, "run", path], {**os.environ, **drive.env()})
        requests = len(drive.log)
    return Cost(took, requests)
