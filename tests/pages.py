"""Published synthetic folders with chosen faults, and the numbers of their report pages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from rm360_async.cli.main import main
from rm360_async.domain.cameras.rig import S3_CAMERAS, Array
from rm360_async.domain.names import Modality, Performance, Structure
from rm360_async.synthetic.remote import demo_plan
from rm360_async.synthetic.renderer import Renderer
from rm360_async.synthetic.smc_writer import write_pair, write_smc
from rm360_async.synthetic.spec import SmcSpec
from rm360_async.visualization.report import write_page

SCALE = 1 / 16
RENDERER = Renderer(SCALE)
"""Draws each image once for all tests of a process."""


def speech_spec(name: str = "s3_all", frames: int = 6, **changes: Any) -> SmcSpec:
    """Return a speech performance of the 500-subject layout: 38 cameras at 15 fps, or the frontal one at 30 fps."""
    cameras = S3_CAMERAS if name == "s3_all" else ("25",)
    fps = 15.0 if name == "s3_all" else 30.0
    spec = SmcSpec(Performance("0018", name), cameras=cameras, frames=frames, fps=fps, scale=SCALE, distinct_images=2)
    return replace(spec, **changes)


def pair_spec(name: str = "e0", frames: int = 4, **changes: Any) -> SmcSpec:
    """Return a performance of the 21-subject layout: 60 cameras and all annotations."""
    spec = next(spec for spec in demo_plan(Structure.PAIR) if spec.performance.name == name)
    return replace(spec, scale=SCALE, frames=frames, distinct_images=2, **changes)


def extract_spec(root: Path, spec: SmcSpec, change: Callable[[Array], Array] | None = None, *arguments: str) -> Path:
    """Write the spec's file or pair and extract it; return the published folder.

    `change` is applied to every stored RT, camera-to-world, 4 x 4.
    """
    stem = f"{spec.performance.subject}_{spec.performance.name}"
    raw, anno = root / f"{stem}_raw.smc", root / f"{stem}_anno.smc"
    folder = root / spec.performance.subject / spec.performance.name
    if Modality.MASKS in spec.modalities:
        write_pair(raw, anno, spec, RENDERER)
        files = [str(raw), "--anno", str(anno)]
    else:
        write_smc(raw, spec, RENDERER)
        files = [str(raw)]
    if change is not None:
        change_rt(anno if anno.exists() else raw, change)
    assert main(["extract", *files, "--output", str(folder), *arguments]) == 0
    return folder


def change_rt(file: Path, change: Callable[[Array], Array]) -> None:
    """Apply `change` to every RT in a file."""
    with h5py.File(file, "r+") as smc:
        for camera in smc["Calibration"].values():
            camera["RT"][...] = change(np.array(camera["RT"]))


def page_numbers(folder: Path, output: Path, *, faces: bool = True) -> dict[str, Any]:
    """Write the page of a folder; return its numbers."""
    return write_page(folder, output, faces=faces)


def failing_panels(numbers: dict[str, Any], state: str = "fail") -> dict[str, str]:
    """Return the sentence of every panel whose state is `fail` (or another one), by the panel's key."""
    return {key: panel["sentence"] for key, panel in numbers["panels"].items() if panel["state"] == state}


def warned_panels(numbers: dict[str, Any]) -> dict[str, str]:
    """Return the sentence of every panel whose state is `warn`, by the panel's key; none may fail."""
    assert failing_panels(numbers) == {}
    return failing_panels(numbers, "warn")
