"""What a part of a file costs: bytes and requests counted by a Drive on loopback, seconds under a cap and a delay.

Two files as s3_all of the 500-subject release, one written camera by camera, one frame by frame. Each selection is
a whole run of its own, by ranges and (for the last) by the whole file, through the real rclone.
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
_CAMERA_BYTES, _TEN_BYTES, _AUDIO_BYTES = 8 * MB, 16 * MB, 3 * MB
_TIMES = 1.10


@dataclass(frozen=True)
class Case:
    """A selection, how it is fetched, and the bytes that it may cost beside `_TIMES` its own."""

    name: str
    cameras: Any
    modalities: Any
    fetch: str
    extra: int | None


CASES = (
    Case("audio only", "all", ["audio", "metadata"], "auto", _AUDIO_BYTES),
    Case("one camera of 38", ["25"], "all", "auto", _CAMERA_BYTES),
    Case("ten cameras of 38", "ring:10", "all", "auto", _TEN_BYTES),
    Case("ten, by the whole file", "ring:10", "all", "whole", None),
)


@dataclass(frozen=True)
class Measured:
    """One run: bytes of pictures and sound in the folder, bytes and requests at the remote, seconds.

    `cpu`: seconds of it that the run, its children and rclone kept a core busy.
    """

    order: str
    case: Case
    wanted: int
    sent: int
    requests: int
    seconds: float
    cpu: float

    def row(self) -> str:
        """Return the row of the table."""
        bar = "-"
        if self.case.extra is not None:
            most = self.wanted * _TIMES + self.case.extra
            bar = f"{most / MB:.1f} MB: {'met' if self.sent <= most else 'MISSED'}"
        return (
            f"| {self.order} by {self.order} | {self.case.name} | {self.wanted / MB:.1f} MB | {self.sent / MB:.1f} MB"
            f" | {self.sent / max(1, self.wanted):.3f} | {self.requests} | {self.seconds:.1f} s | {self.cpu:.1f} s"
            f" | {bar} |"
        )


def run_once(folder: Path, remote: Path, case: Case, order: str, cap: int, delay: float) -> Measured:
    """Do one run against a fresh Drive; return what it cost."""
    work = Path(tempfile.mkdtemp(dir=folder))
    config = {
        "google_drive": {"remote_name": "gdrive", "root_folder_id": ROOT_ID},
        "extraction": {"subjects": ["0018"], "cameras": case.cameras, "modalities": case.modalities},
        "storage": {"output_dir": str(work / "subjects")},
        "processing": {"fetch": case.fetch},
        "limits": {"min_free_space_gb": 1},
        "logging": {"console_output": False},
    }
    (work / "config.yaml").write_text(yaml.safe_dump(config))
    with serve(remote, work / "drive") as drive:
        drive.rules.append(Rule("latency", op="any", seconds=delay))
        environment = {**os.environ, **drive.env(), "RCLONE_BWLIMIT": f"{cap}M"}
        know = [find_rclone(), "lsf", "--recursive", "--drive-root-folder-id", ROOT_ID, "gdrive:"]
        subprocess.run(know, env=environment, check=True, capture_output=True)  # a Drive knows the md5s of its files
        start, busy = time.perf_counter(), _cpu()
        subprocess.run(
            [sys.executable, "-m", "rm360_async", "run", str(work / "config.yaml")], env=environment, check=True
        )
        seconds, busy = time.perf_counter() - start, _cpu() - busy
        media = drive.media("*.smc")
    wanted = sum(
        path.stat().st_size
        for path in (work / "subjects").rglob("*")
        if path.is_file() and (path.parts[-3] == "images" or path.name == "audio_data.npz")
    )
    shutil.rmtree(work)
    return Measured(order, case, wanted, sum(each.sent for each in media), len(media), seconds, busy)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@click.command(help=__doc__)
@click.option("--folder", type=click.Path(path_type=Path), help="Where to work (default: a temporary folder).")
@click.option("--frames", default=160, show_default=True, help="Frames of each of the 38 cameras; 160 is 1.65 GB.")
@click.option("--cap", default=20, show_default=True, help="RCLONE_BWLIMIT in MiB/s.")
@click.option("--delay", default=0.2, show_default=True, help="Seconds before the answer to any request.")
def ranges(folder: Path | None, frames: int, cap: int, delay: float) -> None:
    """Print the table; exit 1 when a bar is missed."""
    made = Path(tempfile.mkdtemp(prefix="rm360-bench-", dir=folder))
    found: list[Measured] = []
    orders: tuple[Literal["camera", "frame"], ...] = ("camera", "frame")
    print("| file written | wanted | its bytes | fetched | ratio | requests | time | busy | bar of bytes |")
    print("|---|---|---|---|---|---|---|---|---|")
    try:
        for order in orders:
            spec = SmcSpec(
                S3_ALL, cameras=tuple(S3_CAMERAS), frames=frames, fps=15, scale=1, distinct_images=1, order=order
            )
            write_smc(made / order / "0018" / "0018_s3_all_raw.smc", spec)
            for case in CASES:
                found.append(run_once(made, made / order, case, order, cap, delay))
                print(found[-1].row(), flush=True)
            part, whole = found[-2].seconds, found[-1].seconds
            print(f"{order} by {order}: ten cameras take {part / whole:.2f} of the whole file's time (bar 0.5)")
    finally:
        shutil.rmtree(made)
    sys.exit(1 if any("MISSED" in each.row() for each in found) else 0)


if __name__ == "__main__":
    ranges()
