"""Measure what a part of a file costs: bytes and requests at a Drive on loopback, seconds under a cap and a delay.

Two files as s3_all of the 500-subject layout, one written camera by camera, one frame by frame. Each selection is
a whole run of its own through the real rclone, by ranges and (for the last) by the whole file.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from drive_emulator import ROOT_ID, Rule, serve

from rm360_async.domain.cameras.rig import S3_CAMERAS
from rm360_async.domain.names import Performance
from rm360_async.download.rclone import find_rclone
from rm360_async.synthetic.smc_writer import write_smc
from rm360_async.synthetic.spec import SmcSpec

S3_ALL = Performance("0018", "s3_all")
MB = 1_000_000
_MAX_RATIO = 1.10
"""Bytes that may be downloaded for each byte of the selection, beside the extra bytes of a `Case`."""
_HEAD = (
    "| file written | selection | its bytes | downloaded | ratio | requests | time | CPU | target of bytes |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Case:
    """A selection, `processing.fetch`, and the extra bytes that it may cost; None where there is no target."""

    name: str
    cameras: Any
    modalities: Any
    fetch: str
    extra_bytes: int | None


CASES = (
    Case("audio only", "all", ["audio", "metadata"], "auto", 3 * MB),
    Case("one camera of 38", ["25"], "all", "auto", 8 * MB),
    Case("ten cameras of 38", "ring:10", "all", "auto", 16 * MB),
    Case("ten, by the whole file", "ring:10", "all", "whole", None),
)


@dataclass(frozen=True)
class RunCost:
    """What a run cost.

    `selected_bytes` are those of images and audio in the published folder, `sent_bytes` and `requests` are counted at
    the remote. `cpu` is the CPU time of the run, its children and rclone.
    """

    order: str
    case: Case
    selected_bytes: int
    sent_bytes: int
    requests: int
    seconds: float
    cpu: float

    @property
    def max_bytes(self) -> float | None:
        """Return the target of bytes, None where there is none."""
        if self.case.extra_bytes is None:
            return None
        return self.selected_bytes * _MAX_RATIO + self.case.extra_bytes

    @property
    def is_missed(self) -> bool:
        """Return True if more bytes were sent than the target allows."""
        return self.max_bytes is not None and self.sent_bytes > self.max_bytes

    def row(self) -> str:
        """Return the row of the table."""
        target = "-"
        if self.max_bytes is not None:
            target = f"{self.max_bytes / MB:.1f} MB: {'MISSED' if self.is_missed else 'met'}"
        return (
            f"| {self.order} by {self.order} | {self.case.name} | {self.selected_bytes / MB:.1f} MB"
            f" | {self.sent_bytes / MB:.1f} MB | {self.sent_bytes / max(1, self.selected_bytes):.3f}"
            f" | {self.requests} | {self.seconds:.1f} s | {self.cpu:.1f} s | {target} |"
        )


def run_once(folder: Path, remote: Path, case: Case, order: str, cap: int, delay: float) -> RunCost:
    """Measure one run against a fresh Drive, with `cap` in MiB/s and `delay` in seconds before each answer."""
    work = Path(tempfile.mkdtemp(dir=folder))
    config = _write_config(work, case)
    with serve(remote, work / "drive") as drive:
        drive.rules.append(Rule("latency", op="any", seconds=delay))
        env = {**os.environ, **drive.env(), "RCLONE_BWLIMIT": f"{cap}M"}
        listing = [find_rclone(), "lsf", "--recursive", "--drive-root-folder-id", ROOT_ID, "gdrive:"]
        subprocess.run(listing, env=env, check=True, capture_output=True)  # the emulator computes the md5s now
        start, cpu = time.perf_counter(), _cpu_seconds()
        subprocess.run([sys.executable, "-m", "rm360_async", "run", str(config)], env=env, check=True)
        seconds, cpu = time.perf_counter() - start, _cpu_seconds() - cpu
        media = drive.media("*.smc")
    selected = _selected_bytes(work / "subjects")
    shutil.rmtree(work)
    return RunCost(order, case, selected, sum(request.sent for request in media), len(media), seconds, cpu)


def _write_config(work: Path, case: Case) -> Path:
    config = {
        "google_drive": {"remote_name": "gdrive", "root_folder_id": ROOT_ID},
        "extraction": {"subjects": ["0018"], "cameras": case.cameras, "modalities": case.modalities},
        "storage": {"output_dir": str(work / "subjects")},
        "processing": {"fetch": case.fetch},
        "limits": {"min_free_space_gb": 1},
        "logging": {"console_output": False},
    }
    (work / "config.yaml").write_text(yaml.safe_dump(config))
    return work / "config.yaml"


def _selected_bytes(subjects: Path) -> int:
    """Return the bytes of images and audio below the published folders."""
    files = (path for path in subjects.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files if path.parts[-3] == "images" or path.name == "audio_data.npz")


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@click.command(help=__doc__)
@click.option("--folder", type=click.Path(path_type=Path), help="Where to work (default: a temporary folder).")
@click.option("--frames", default=160, show_default=True, help="Frames of each of the 38 cameras; 160 is 1.65 GB.")
@click.option("--cap", default=20, show_default=True, help="RCLONE_BWLIMIT in MiB/s.")
@click.option("--delay", default=0.2, show_default=True, help="Seconds before the answer to any request.")
def ranges(folder: Path | None, frames: int, cap: int, delay: float) -> None:
    """Print the table; exit 1 when a target is missed."""
    workspace = Path(tempfile.mkdtemp(prefix="rm360-bench-", dir=folder))
    costs: list[RunCost] = []
    orders: tuple[Literal["camera", "frame"], ...] = ("camera", "frame")
    print(_HEAD)
    try:
        for order in orders:
            spec = SmcSpec(S3_ALL, cameras=S3_CAMERAS, frames=frames, fps=15, scale=1, distinct_images=1, order=order)
            write_smc(workspace / order / "0018" / "0018_s3_all_raw.smc", spec)
            for case in CASES:
                costs.append(run_once(workspace, workspace / order, case, order, cap, delay))
                print(costs[-1].row(), flush=True)
            part, whole = costs[-2].seconds, costs[-1].seconds
            print(f"{order} by {order}: ten cameras take {part / whole:.2f} of the whole file's time (target 0.5)")
    finally:
        shutil.rmtree(workspace)
    sys.exit(1 if any(cost.is_missed for cost in costs) else 0)


if __name__ == "__main__":
    ranges()
