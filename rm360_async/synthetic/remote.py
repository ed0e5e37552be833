"""Write synthetic performances to a folder laid out like the remote of either release."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from rm360_async.domain.cameras.rig import S3_CAMERAS, rig
from rm360_async.domain.names import Kind, Modality, Performance, Structure, remote_path
from rm360_async.synthetic.renderer import Renderer
from rm360_async.synthetic.smc_writer import write_pair, write_smc
from rm360_async.synthetic.spec import SINGLE_RELEASE, SmcSpec

_SINGLE_WITHOUT_AUDIO = SINGLE_RELEASE - {Modality.AUDIO}
_HAIR_PAIR = _SINGLE_WITHOUT_AUDIO | {Modality.MASKS, Modality.KEYPOINTS2D, Modality.KEYPOINTS3D}
_SPEECH_PAIR = _HAIR_PAIR | {Modality.AUDIO}
_EXPRESSION_PAIR = frozenset(Modality) - {Modality.AUDIO}


def demo_plan(structure: Structure) -> tuple[SmcSpec, ...]:
    """Return a few performances that show what a release holds."""
    every = tuple(rig())
    if structure is Structure.SINGLE:
        return (
            SmcSpec(Performance("0018", "s1_all"), frames=12),
            SmcSpec(Performance("0018", "s3_all"), cameras=S3_CAMERAS, frames=6, fps=15.0, holes={"31": (4,)}),
            SmcSpec(Performance("0018", "e1"), _SINGLE_WITHOUT_AUDIO, every, frames=3),
            SmcSpec(Performance("0018", "h0"), _SINGLE_WITHOUT_AUDIO, every, frames=1),
            SmcSpec(Performance("0019", "s1_all"), frames=9, seed=1),
        )
    return (
        SmcSpec(Performance("0026", "s1_all"), _SPEECH_PAIR, every, frames=4),
        SmcSpec(Performance("0026", "e0"), _EXPRESSION_PAIR, every, frames=3),
        SmcSpec(Performance("0026", "h1_3bn"), _HAIR_PAIR, every, frames=2),
    )


def make_remote(
    root: Path, structure: Structure, plan: Iterable[SmcSpec] | None = None, scale: float = 1 / 8
) -> list[Path]:
    """Write the performances of a plan (default: the demo's) below the root and return the files.

    `scale` is the size of all images, 1 for 2448 x 2048 px; it replaces the scales of the specs.
    """
    renderer = Renderer(scale)
    written: list[Path] = []
    for spec in demo_plan(structure) if plan is None else plan:
        scaled = replace(spec, scale=scale)
        raw, anno = (root / remote_path(structure, spec.performance, kind) for kind in (Kind.RAW, Kind.ANNO))
        if structure is Structure.SINGLE:
            written.append(write_smc(raw, scaled, renderer))
        else:
            written.extend(write_pair(raw, anno, scaled, renderer))
    return written
