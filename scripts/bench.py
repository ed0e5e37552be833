"""Benchmarks that anyone can run: each compares with a floor measured in the same run, in turns, and prints ratios.

overlap   a run of two subjects under a bandwidth cap, against plain `rclone copy` of the same files
extract   the extraction of one file, against writing the same bytes to as many files, both synced
ranges    what a part of a file costs: bytes and requests counted by a Drive on loopback, seconds under cap and delay
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import yaml
from benchmarks.ranges import ranges

from rm360_async.catalog import Performance, Structure
from rm360_async.geometry.rig import S3_CAMERAS
from rm360_async.rclone import find
from rm360_async.record import read_file_list
from rm360_async.synthetic.remote import make_remote
from rm360_async.synthetic.spec import SmcSpec


@click.group(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--folder", type=click.Path(path_type=Path), help="Where to work (default: a temporary folder).")
@click.option("--rounds", default=3, show_default=True, help="Counted rounds of each side, in turns.")
@click.pass_context
def bench(context: click.Context, folder: Path | None, rounds: int) -> None:
    """Make the working folder."""
    made = Path(tempfile.mkdtemp(prefix="rm360-bench-", dir=folder))
    context.call_on_close(lambda: shutil.rmtree(made, ignore_errors=True))
    context.obj = (made, rounds)


@bench.command()
@click.option("--megabytes", default=1200, show_default=True, help="Size of each of the two files.")
@click.option("--cap", default=20, show_default=True, help="RCLONE_BWLIMIT in MB/s.")
@click.pass_obj
def overlap(obj: tuple[Path, int], megabytes: int, cap: int) -> None:
    """Run against `rclone copy` under the same cap; the bar of the first is 1.1."""
    folder, rounds = obj
    remote = folder / "remote"
    frames = max(1, round(megabytes / (len(S3_CAMERAS) * 0.27)))
    plan = [
        SmcSpec(Performance(subject, "s3_all"), cameras=S3_CAMERAS, frames=frames, fps=15.0, scale=1.0, pictures=1)
        for subject in ("0018", "0019")
    ]
    make_remote(remote, Structure.SINGLE, plan, scale=1.0)
    environment = {**os.environ, "RCLONE_BWLIMIT": f"{cap}M", "RCLONE_CONFIG": str(folder / "rclone.conf")}
    (folder / "rclone.conf").write_text(f"[bench]\ntype = alias\nremote = {remote}\n")
    size = sum(path.stat().st_size for path in remote.rglob("*.smc"))
    print(f"two files, {size / 1e6:.0f} MB in all, {cap} MB/s: {size / cap / 2**20:.1f} s at the cap")

    def copy() -> None:
        subprocess.run([find(), "copy", "bench:", str(folder / "copied")], env=environment, check=True)
        shutil.rmtree(folder / "copied")

    def run() -> None:
        config = folder / "config.yaml"
        config.write_text(
            yaml.safe_dump(
                {
                    "google_drive": {"remote_name": "bench"},
                    "extraction": {"subjects": "all"},
                    "storage": {"output_dir": str(folder / "work" / "subjects")},
                    "processing": {"downloads": 1},  # a cap is each rclone's own: two at once would have twice as much
                    "limits": {"min_free_space_gb": 1},
                    "logging": {"console_output": False},
                }
            )
        )
        subprocess.run([sys.executable, "-m", "rm360_async", "run", str(config)], env=environment, check=True)
        shutil.rmtree(folder / "work")

    _compare(rounds, ("rm360 run", run), ("rclone copy", copy), 1.1)


@bench.command()
@click.option("--megabytes", default=1500, show_default=True, help="Size of the file.")
@click.pass_obj
def extract(obj: tuple[Path, int], megabytes: int) -> None:
    """Extract one full-resolution file, against writing its files from memory; the bar is 2."""
    folder, rounds = obj
    frames = max(1, round(megabytes / (len(S3_CAMERAS) * 0.27)))
    spec = SmcSpec(Performance("0018", "s3_all"), cameras=S3_CAMERAS, frames=frames, fps=15.0, scale=1.0, pictures=1)
    make_remote(folder / "remote", Structure.SINGLE, [spec], scale=1.0)
    source = folder / "remote" / "0018" / "0018_s3_all_raw.smc"
    target = folder / "out"

    def extraction() -> None:
        command = [sys.executable, "-m", "rm360_async", "extract", str(source), "--output", str(target)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    extraction()
    files = [(path, (target / path).read_bytes()) for path, _ in read_file_list(target)]
    print(f"{source.stat().st_size / 1e6:.0f} MB, {len(files)} files")
    shutil.rmtree(target)

    def floor() -> None:
        for path, data in files:
            place = target / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        os.sync()

    def clean() -> None:
        shutil.rmtree(target, ignore_errors=True)
        os.sync()

    _compare(rounds, ("rm360 extract", extraction), ("write from memory + sync", floor), 2.0, clean)


def _compare(
    rounds: int,
    ours: tuple[str, Callable[[], None]],
    floor: tuple[str, Callable[[], None]],
    bar: float,
    clean: Callable[[], None] = lambda: None,
) -> None:
    """Run both in turns and print each round, the medians and the ratio against its bar."""
    times: dict[str, list[float]] = {ours[0]: [], floor[0]: []}
    for _ in range(rounds):
        for name, work in (ours, floor):
            clean()
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    clean()
    medians = {name: statistics.median(each) for name, each in times.items()}
    for name, each in times.items():
        print(f"{name:<28} median {medians[name]:6.2f} s   ({', '.join(f'{t:.2f}' for t in each)})")
    ratio = medians[ours[0]] / medians[floor[0]]
    print(f"ratio {ratio:.3f}, bar {bar}: {'met' if ratio <= bar else 'MISSED'}")


bench.add_command(ranges)

if __name__ == "__main__":
    bench()
