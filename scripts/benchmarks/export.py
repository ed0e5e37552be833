"""Part `export`: seconds for each picture of the exports that make pictures, and of one that links them."""

from __future__ import annotations

from pathlib import Path

from benchmarks.inputs import RM360
from benchmarks.table import Bench
from benchmarks.timing import Measurement, measure_command, measure_function, median

from rm360_async.dataset import open_performance
from rm360_async.domain.cameras.rig import FRONT_CAMERA, rig
from rm360_async.domain.names import Modality, Performance
from rm360_async.export.formats import get_format
from rm360_async.export.options import ExportOptions
from rm360_async.export.publish import export_unit
from rm360_async.synthetic.smc_writer import write_smc
from rm360_async.synthetic.spec import LENS_DISTORTION, SINGLE_RELEASE, SmcSpec

_VIEWS = tuple(rig())[::2]
_WITH_MASKS = frozenset({Modality.METADATA, Modality.CALIBRATION, Modality.IMAGES, Modality.MASKS})


def measure(bench: Bench) -> None:
    """Add the lines of the exports."""
    moment = SmcSpec(Performance("0026", "e0"), _WITH_MASKS, _VIEWS, 1, scale=1.0, distortion=LENS_DISTORTION)
    whole_rig = SmcSpec(Performance("0027", "e0"), _WITH_MASKS, tuple(rig()), 1, scale=1 / 4)
    seconds = 20 if bench.full else 4
    speech = SmcSpec(Performance("0018", "s1_all"), SINGLE_RELEASE, (FRONT_CAMERA,), 30 * seconds, scale=1.0)
    for size, target in ((512, 0.1), (1024, None)):
        runs = _exports(bench, moment, "3dgs", ExportOptions(size=size))
        _add(bench, f"3dgs of {size} px, a view, written and checked", runs, len(_VIEWS), target)
    runs = _exports(bench, speech, "talking", ExportOptions(threads=2))
    _add(bench, f"talking of 512 px, a picture of {25 * seconds}", runs, 25 * seconds, 0.02)
    runs = _exports(bench, whole_rig, "nerfstudio", ExportOptions())
    _add(bench, "nerfstudio of 60 views, written and checked", runs, 1, 0.05)


def _exports(bench: Bench, spec: SmcSpec, format_name: str, options: ExportOptions) -> list[Measurement]:
    """Return the measurements of exporting one unit of a performance, which is published first."""
    published = bench.folder / "subjects" / spec.performance.subject / spec.performance.name
    if not published.exists():
        raw = write_smc(bench.folder / f"{spec.performance.subject}_{spec.performance.name}_raw.smc", spec)
        measure_command([*RM360, "extract", raw, "--output", published])
    return [measure_function(lambda: _export(published, format_name, options, bench)) for _ in range(bench.rounds)]


def _export(published: Path, format_name: str, options: ExportOptions, bench: Bench) -> None:
    fmt = get_format(format_name)
    unit = next(iter(fmt.units(open_performance(published), options)))
    export_unit(unit, fmt, bench.new_folder("out"))


def _add(bench: Bench, what: str, runs: list[Measurement], count: int, at_most: float | None) -> None:
    """Add a line in milliseconds for each of `count` pictures."""
    wall, cpu = median(runs) / count, median(runs, "cpu") / count
    target, met = (f"at most {1000 * at_most:g} ms", wall <= at_most) if at_most else ("-", None)
    bench.add_line(what, f"{1000 * wall:.0f} ms", "-", f"CPU {1000 * cpu:.0f} ms", target, met)
