"""What the benchmarks work on: synthetic files, remotes and configs; and the usual way of extraction."""

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
"""Megabytes of a synthetic JPEG of 2448 x 2048."""
PERFORMANCES = (*(f"e{n}" for n in range(12)), "h0", "h2", *(f"s{n}_all" for n in range(1, 6)))
"""The 19 performances of a subject."""


def write_full_resolution(path: Path, megabytes: int, subject: str = "0018") -> Path:
    """Write an s3_all of 38 cameras with frames of 2448 x 2048, of about this size; return its path."""
    frames = max(1, round(megabytes / (len(S3_CAMERAS) * _FRAME_MB)))
    spec = SmcSpec(
        Performance(subject, "s3_all"), cameras=S3_CAMERAS, frames=frames, fps=15.0, scale=1.0, distinct_images=1
    )
    return write_smc(path, spec)


def write_single_frame(path: Path) -> Path:
    """Write a performance of one small frame, whose cost is the fixed cost of a performance; return its path."""
    modalities = frozenset({Modality.METADATA, Modality.IMAGES})
    return write_smc(path, SmcSpec(modalities=modalities, frames=1, distinct_images=1))


def link_remote(remote: Path, file: Path, subjects: int, names: Iterable[str] = PERFORMANCES) -> list[Performance]:
    """Lay out a remote on which every file is a hard link to the same one; return its performances."""
    performances = [Performance(f"{number + 1:04d}", name) for number in range(subjects) for name in names]
    for performance in performances:
        path = remote / remote_path(Structure.SINGLE, performance, Kind.RAW)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(file, path)
    return performances


def write_config(folder: Path, remote: Path, **changes: dict[str, object]) -> tuple[Path, dict[str, str]]:
    """Write a config, and an rclone config in which `bench` is a local remote.

    `changes` replace keys of sections. Returns the config's path and the environment for its commands.
    """
    folder.mkdir(exist_ok=True)
    (folder / "rclone.conf").write_text(f"[bench]\ntype = alias\nremote = {remote}\n")
    sections: dict[str, dict[str, object]] = {
        "google_drive": {"remote_name": "bench"},
        "extraction": {"subjects": "all"},
        "storage": {"output_dir": str(folder / "work" / "subjects")},
        "limits": {"min_free_space_gb": 1},
        "logging": {"console_output": False},
    }
    for name, change in changes.items():
        sections[name] = {**sections.get(name, {}), **change}
    (folder / "config.yaml").write_text(yaml.safe_dump(sections))
    return folder / "config.yaml", {**os.environ, "RCLONE_CONFIG": str(folder / "rclone.conf")}


def decode_and_encode(path: Path, target: Path, limit: int) -> int:
    """Extract images the usual way, by decoding and encoding each; return how many (at most `limit`)."""
    count = 0
    with h5py.File(path, "r") as file:
        for camera, datasets in file["Camera"].items():
            for frame, data in datasets.get("color", {}).items():
                if count == limit:
                    return count
                image = cv2.imdecode(np.asarray(data[()]), cv2.IMREAD_COLOR)
                folder = target / f"cam_{camera}"
                folder.mkdir(parents=True, exist_ok=True)
                if image is None or not cv2.imwrite(str(folder / f"frame_{int(frame):06d}.jpg"), image):
                    raise OSError(f"camera {camera}, frame {frame} could not be written")
                count += 1
    return count
