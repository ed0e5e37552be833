"""What the benchmarks work on: synthetic files, configs and the commands that are measured."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

import cv2
import h5py
import numpy as np
import yaml

from rm360_async.domain.cameras.rig import S3_CAMERAS
from rm360_async.domain.names import Kind, Modality, Performance, Structure, remote_path
from rm360_async.synthetic.smc_writer import write_smc
from rm360_async.synthetic.spec import SmcSpec

RM360 = (sys.executable, "-m", "rm360_async")
_FRAME_MB = 0.27
NAMES = (*(f"e{n}" for n in range(12)), "h0", "h2", *(f"s{n}_all" for n in range(1, 6)))
"""The 19 performances of a subject."""


def full_resolution(path: Path, megabytes: int, subject: str = "0018") -> Path:
    """Write an s3_all of 38 cameras with frames of 2448 x 2048, of about this size."""
    frames = max(1, round(megabytes / (len(S3_CAMERAS) * _FRAME_MB)))
    spec = SmcSpec(
        Performance(subject, "s3_all"), cameras=S3_CAMERAS, frames=frames, fps=15.0, scale=1.0, distinct_images=1
    )
    return write_smc(path, spec)


def tiny(path: Path) -> Path:
    """Write a performance of one small frame: what is measured with it is everything else."""
    modalities = frozenset({Modality.METADATA, Modality.IMAGES})
    return write_smc(path, SmcSpec(modalities=modalities, frames=1, distinct_images=1))


def tiny_remote(remote: Path, one: Path, subjects: int, names: Iterable[str] = NAMES) -> list[Performance]:
    """Lay out a remote on which every file is the same one (by hard links); return its performances."""
    found = [Performance(f"{number + 1:04d}", name) for number in range(subjects) for name in names]
    for each in found:
        path = remote / remote_path(Structure.SINGLE, each, Kind.RAW)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(one, path)
    return found


def config(folder: Path, remote: Path, **sections: dict[str, object]) -> tuple[Path, dict[str, str]]:
    """Write a config and an rclone config for a local remote; return its path and the environment for it."""
    folder.mkdir(exist_ok=True)
    (folder / "rclone.conf").write_text(f"[bench]\ntype = alias\nremote = {remote}\n")
    value: dict[str, dict[str, object]] = {
        "google_drive": {"remote_name": "bench"},
        "extraction": {"subjects": "all"},
        "storage": {"output_dir": str(folder / "work" / "subjects")},
        "limits": {"min_free_space_gb": 1},
        "logging": {"console_output": False},
    }
    for name, section in sections.items():
        value[name] = {**value.get(name, {}), **section}
    (folder / "config.yaml").write_text(yaml.safe_dump(value))
    return folder / "config.yaml", {**os.environ, "RCLONE_CONFIG": str(folder / "rclone.conf")}


def usual_way(path: Path, target: Path, most: int) -> int:
    """Do what scripts usually do to a file: decode every picture and encode it again; return how many (at most)."""
    done = 0
    with h5py.File(path, "r") as file:
        for camera, parts in file["Camera"].items():
            for frame, data in parts.get("color", {}).items():
                if done == most:
                    return done
                picture = cv2.imdecode(np.asarray(data[()]), cv2.IMREAD_COLOR)
                folder = target / f"cam_{camera}"
                folder.mkdir(parents=True, exist_ok=True)
                if picture is None or not cv2.imwrite(str(folder / f"frame_{int(frame):06d}.jpg"), picture):
                    raise OSError(f"camera {camera}, frame {frame} could not be written")
                done += 1
    return done
