"""Published synthetic folders to export from, and what tests read of an export."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from rm360_async.cli.main import main
from rm360_async.domain.cameras.rig import rig
from rm360_async.domain.names import Modality, Performance
from rm360_async.synthetic.renderer import Renderer
from rm360_async.synthetic.smc_writer import write_pair, write_smc
from rm360_async.synthetic.spec import SINGLE_RELEASE, SmcSpec

SCALE = 1 / 16
CAMERAS = ("04", "16", "25", "26", "37", "52")
EXPRESSION = SmcSpec(
    Performance("0026", "e0"),
    frozenset(Modality) - {Modality.AUDIO},
    CAMERAS,
    frames=3,
    holes={"26": (1,)},
    scale=SCALE,
)
SPEECH = SmcSpec(Performance("0018", "s3_all"), SINGLE_RELEASE, ("24", "25"), frames=6, fps=15.0, scale=SCALE)
WHOLE_RIG = SmcSpec(Performance("0018", "e1"), SINGLE_RELEASE - {Modality.AUDIO}, tuple(rig()), frames=1, scale=SCALE)


def publish(root: Path, *specs: SmcSpec) -> Path:
    """Publish performances of one scale below `root / "subjects"`, and return that folder."""
    renderer = Renderer(specs[0].scale)
    for spec in specs:
        name = f"{spec.performance.subject}_{spec.performance.name}"
        raw, anno = root / f"{name}_raw.smc", root / f"{name}_anno.smc"
        files = [raw]
        if Modality.MASKS in spec.modalities:
            write_pair(raw, anno, spec, renderer)
            files += [Path("--anno"), anno]
        else:
            write_smc(raw, spec, renderer)
        target = root / "subjects" / spec.performance.subject / spec.performance.name
        assert main(["extract", *map(str, files), "--output", str(target)]) == 0
    return root / "subjects"


def extract_again(root: Path, spec: SmcSpec, **changes: Any) -> None:
    """Replace a published performance by one of a changed spec, in one step."""
    changed = replace(spec, **changes)
    name = f"{spec.performance.subject}_{spec.performance.name}"
    raw, anno = root / f"{name}_raw.smc", root / f"{name}_anno.smc"
    write_pair(raw, anno, changed, Renderer(SCALE))
    target = root / "subjects" / spec.performance.subject / spec.performance.name
    assert main(["extract", str(raw), "--anno", str(anno), "--output", str(target), "--force"]) == 0


def export(*arguments: object) -> int:
    """Run `rm360 export` and return its exit code."""
    return main(["export", *map(str, arguments)])


def record_of(folder: Path) -> dict[str, Any]:
    """Return the record of an export."""
    record: dict[str, Any] = json.loads((folder / ".rm360_export.json").read_text())
    return record
