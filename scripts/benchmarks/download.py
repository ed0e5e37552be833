"""Point 5: the download over HTTPS from a Drive on loopback: `cat` into the file with md5 behind it, or `copy`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from benchmarks import clock
from benchmarks.clock import Took, middle
from benchmarks.material import RM360, config, full_resolution, tiny
from benchmarks.table import Bench
from drive_emulator import ROOT_ID, serve

from rm360_async.download.rclone import find_rclone

_FETCH = """
import sys, os, anyio
from pathlib import Path
from rm360_async.download.rclone import Remote, find_rclone, rclone_environment
async def fetch():
    remote = Remote("gdrive", sys.argv[1], find_rclone(), rclone_environment(os.environ))
    listed = await remote.stat(sys.argv[2])
    assert await remote.download(listed, Path(sys.argv[3])) == listed.md5
anyio.run(fetch)
"""
_FILE = "0018/0018_s3_all_raw.smc"


def measure(bench: Bench) -> None:
    """Add the lines of the download alone."""
    folder = bench.place("download")
    size = full_resolution(folder / "remote" / _FILE, 1500 if bench.full else 200).stat().st_size / 1e9
    options = ("--include", f"/{_FILE}", "--drive-root-folder-id", ROOT_ID, "--log-level", "ERROR")
    copy: list[str | Path] = [find_rclone(), "copy", "gdrive:", folder / "copied", *options]

    def clean() -> None:
        bench.set_aside(folder / "copied")
        (folder / "part").unlink(missing_ok=True)
        clock.sync(folder)

    with serve(folder / "remote", folder / "drive") as drive:
        env = {**os.environ, **drive.env()}
        fetch: list[str | Path] = [sys.executable, "-c", _FETCH, ROOT_ID, _FILE, folder / "part"]
        works = {
            "ours": lambda: clock.command(fetch, env),
            "single": lambda: clock.command([*copy, "--multi-thread-streams", "0"], env),
            "many": lambda: clock.command(copy, env),
        }
        found = clock.in_turns(bench.rounds, works, clean)
    what = f"download of {size * 1000:.0f} MB: `cat` into the file, md5 behind it"
    for name, words in (("single", "`rclone copy`, one stream"), ("many", "`rclone copy`, its own streams")):
        _line(bench, what, found["ours"], found[name], words, size)
    _whole_service(bench, folder, size)


def _whole_service(bench: Bench, folder: Path, size: float) -> None:
    """Compare the CPU of a whole run, with rclone and the extraction, with that of a run of next to nothing."""
    small = folder / "small" / "0018" / "0018_s3_all_raw.smc"
    small.parent.mkdir(parents=True)
    tiny(small)
    whole, nothing = (_run(bench, folder, remote) for remote in (folder / "remote", folder / "small"))
    gigabyte = (whole.cpu - nothing.cpu) / size
    bench.line(
        5, "the whole service over HTTPS: download, md5, extraction", f"CPU {gigabyte:.2f} s a GB",
        f"start-up {nothing.cpu:.2f} s, not counted", f"{gigabyte / 8:.2f} cores at 1 Gbit/s",
        "less than 1 core", gigabyte < 8,
    )  # fmt: skip


def _run(bench: Bench, folder: Path, remote: Path) -> Took:
    path, _ = config(folder / "run", remote, google_drive={"remote_name": "gdrive", "root_folder_id": ROOT_ID})
    (folder / "state").mkdir()
    with serve(remote, folder / "state") as drive:
        took = clock.command([*RM360, "run", path], {**os.environ, **drive.env()})
    bench.set_aside(folder / "run", folder / "state")
    return took


def _line(bench: Bench, what: str, ours: list[Took], other: list[Took], words: str, size: float) -> None:
    def told(rounds: list[Took]) -> str:
        return f"{middle(rounds):.2f} s {clock.spread(rounds)}, CPU {middle(rounds, 'cpu') / size:.2f} s a GB"

    value = middle(ours, "cpu") / middle(other, "cpu")
    bench.line(5, what, told(ours), f"{words}: {told(other)}", f"CPU {value:.2f}", "-", None)
