"""Part `download`: downloads over HTTPS from a Drive on loopback: as the service does, or by `rclone copy`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from benchmarks.inputs import RM360, write_config, write_full_resolution, write_single_frame
from benchmarks.page_cache import sync_file_system
from benchmarks.table import Bench
from benchmarks.timing import Measurement, alternate, measure_command, median, wall_text
from drive_emulator import ROOT_ID, serve

from rm360_async.download import spool
from rm360_async.download.rclone import find_rclone

_FETCH = """
import sys, os, anyio
from pathlib import Path
from rm360_async.download.accounts import Accounts
from rm360_async.download.rclone import Remote, StallPolicy, find_rclone, rclone_environment
async def fetch():
    remote = Remote("gdrive", sys.argv[1], find_rclone(), rclone_environment(os.environ))
    listed = await remote.stat(sys.argv[2])
    accounts = Accounts([remote], StallPolicy())
    async with accounts.running():
        assert await accounts[0].download(listed, Path(sys.argv[3])) == listed.md5
anyio.run(fetch)
"""
"""Program: download one file as the service does."""
_FILE = "0018/0018_s3_all_raw.smc"
_SECONDS_OF_A_GIGABYTE = 8
"""At 1 Gbit/s."""


def measure(bench: Bench) -> None:
    """Add the lines of a download alone, and of the whole service."""
    folder = bench.new_folder("download")
    size = write_full_resolution(folder / "remote" / _FILE, 1500 if bench.full else 200).stat().st_size / 1e9
    options = ("--include", f"/{_FILE}", "--drive-root-folder-id", ROOT_ID, "--log-level", "ERROR")
    copy: list[str | Path] = [find_rclone(), "copy", "gdrive:", folder / "copied", *options]

    def prepare() -> None:
        bench.discard(folder / "copied")
        spool.remove(folder / "a.smc.sparse")
        sync_file_system(folder)

    with serve(folder / "remote", folder / "drive") as drive:
        env = {**os.environ, **drive.env()}
        fetch: list[str | Path] = [sys.executable, "-c", _FETCH, ROOT_ID, _FILE, folder / "a.smc.sparse"]
        sides = {
            "service": lambda: measure_command(fetch, env),
            "single": lambda: measure_command([*copy, "--multi-thread-streams", "0"], env),
            "many": lambda: measure_command(copy, env),
        }
        measurements = alternate(bench.rounds, sides, prepare)
    for name, reference in (("single", "`rclone copy`, one stream"), ("many", "`rclone copy`, its own streams")):
        _add_download(bench, measurements["service"], measurements[name], reference, size)
    _add_whole_service(bench, folder, size)


def _add_download(
    bench: Bench, measured: Sequence[Measurement], reference: Sequence[Measurement], name: str, size: float
) -> None:
    """Compare CPU times; `size` is in gigabytes."""

    def shown(side: Sequence[Measurement]) -> str:
        return f"{wall_text(side)}, CPU {median(side, 'cpu') / size:.2f} s a GB"

    value = median(measured, "cpu") / median(reference, "cpu")
    what = f"download of {size * 1000:.0f} MB, over many connections, md5 behind it"
    bench.add_line(what, shown(measured), f"{name}: {shown(reference)}", f"CPU {value:.2f}", "-", None)


def _add_whole_service(bench: Bench, folder: Path, size: float) -> None:
    """Add the CPU time a gigabyte of a run with rclone and extraction, beyond that of a run of a single frame."""
    small = folder / "small" / _FILE
    small.parent.mkdir(parents=True)
    write_single_frame(small)
    whole, startup = (_run(bench, folder, remote) for remote in (folder / "remote", folder / "small"))
    gigabyte = (whole.cpu - startup.cpu) / size
    bench.add_line(
        "the whole service over HTTPS: download, md5, extraction", f"CPU {gigabyte:.2f} s a GB",
        f"start-up {startup.cpu:.2f} s, not counted", f"{gigabyte / _SECONDS_OF_A_GIGABYTE:.2f} cores at 1 Gbit/s",
        "less than 1 core", gigabyte < _SECONDS_OF_A_GIGABYTE,
    )  # fmt: skip


def _run(bench: Bench, folder: Path, remote: Path) -> Measurement:
    drive_keys: dict[str, object] = {"remote_name": "gdrive", "root_folder_id": ROOT_ID}
    config, _ = write_config(folder / "run", remote, google_drive=drive_keys)
    (folder / "state").mkdir()
    with serve(remote, folder / "state") as drive:
        measurement = measure_command([*RM360, "run", config], {**os.environ, **drive.env()})
    bench.discard(folder / "run", folder / "state")
    return measurement
