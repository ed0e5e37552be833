"""Part `growth`: runs over HTTPS from a Drive on loopback with 1, 4 and 16 times the work: costs grow in proportion."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from benchmarks.inputs import RM360, link_remote, write_config, write_single_frame
from benchmarks.table import Bench
from benchmarks.timing import Measurement, measure_command
from drive_emulator import ROOT_ID, serve

_FACTORS = (1, 4, 16)
_MAX_BEND = 1.25
"""How much more each further performance may cost between 4 and 16 times the work than between 1 and 4 times."""
_MAX_GROWTH_MB = 10


@dataclass(frozen=True)
class RunCost:
    """The measurement of a run of the service, and the number of its requests."""

    measurement: Measurement
    requests: int


def measure(bench: Bench) -> None:
    """Add the lines of growing work."""
    unit = 6 if bench.full else 1
    costs = [_run(bench, unit * factor) for factor in _FACTORS]
    what = f"run of {', '.join(str(unit * factor) for factor in _FACTORS)} performances"
    _add_costs(bench, f"{what}: wall", [cost.measurement.wall for cost in costs], unit, " s", has_target=False)
    _add_costs(bench, f"{what}: CPU", [cost.measurement.cpu for cost in costs], unit, " s")
    _add_costs(bench, f"{what}: requests", [cost.requests for cost in costs], unit)
    peaks = [cost.measurement.peak_memory / 1e6 for cost in costs]
    growth = peaks[-1] - peaks[0]
    bench.add_line(
        f"{what}: peak memory of the service", f"{', '.join(f'{peak:.0f}' for peak in peaks)} MB", "-",
        f"{growth:+.0f} MB", f"at most +{_MAX_GROWTH_MB} MB", growth <= _MAX_GROWTH_MB,
    )  # fmt: skip


def _add_costs(
    bench: Bench, what: str, figures: list[float] | list[int], unit: int, suffix: str = "", *, has_target: bool = True
) -> None:
    """Compare the cost of one more performance up to 4 times the work with that from there on."""
    one, four, sixteen = figures
    first, then = (four - one) / (3 * unit), (sixteen - four) / (12 * unit)
    bend = then / first if first > 0 else 1.0
    shown = ", ".join(f"{figure:.1f}" if suffix else f"{figure}" for figure in figures)
    each = f"{first:.2f}, then {then:.2f}{suffix} for each more"
    target, met = (f"at most {_MAX_BEND}", bend <= _MAX_BEND) if has_target else ("-", None)
    bench.add_line(what, f"{shown}{suffix}", each, f"{bend:.2f}", target, met)


def _run(bench: Bench, count: int) -> RunCost:
    folder = bench.new_folder("growth")
    remote = folder / "remote"
    link_remote(remote, write_single_frame(folder / "single.smc"), 1, [f"h1_{number}bk" for number in range(count)])
    drive_keys: dict[str, object] = {"remote_name": "gdrive", "root_folder_id": ROOT_ID}
    config, _ = write_config(folder, remote, google_drive=drive_keys)
    with serve(remote, folder / "drive") as drive:
        measurement = measure_command([*RM360, "run", config], {**os.environ, **drive.env()})
        return RunCost(measurement, len(drive.log))
