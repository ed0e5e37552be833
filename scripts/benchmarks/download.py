"""Point 5: the download over HTTPS from a Drive on loopback: `cat` into the file with md5 behind it, or `copy`."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from benchmarks import clock
from benchmarks.clock import Took, middle
from benchmarks.material import full_resolution
from benchmarks.table import Bench
from drive_emulator import ROOT_ID, serve

from rm360_async.rclone import find

_FETCH = """
import sys, os, anyio
from pathlib import Path
from rm360_async.rclone import Remote, environment, find
async def fetch():
    remote = Remote("gdrive", sys.argv[1], find(), environment(os.environ))
    listed = await remote.stat(sys.argv[2])
    assert await remote.fetch(listed, Path(sys.argv[3])) == listed.md5
anyio.run(fetch)
"""
_FILE = "0018/0018_s3_all_raw.smc"


def measure(bench: Bench) -> None:
    """Add the lines of the download alone."""
    folder = bench.place("download")
    size = full_resolution(folder / "remote" / _FILE, 1500 if bench.full else 200).stat().st_size / 1e9
    whole = ("copy", "gdrive:", folder / "copied", "--include", f"/{_FILE}", "--drive-root-folder-id", ROOT_ID)
    copy = [find(), *whole, "--log-level", "ERROR"]

    def clean() -> None:
        shutil.rmtree(folder / "copied", ignore_errors=True)
        (folder / "part").unlink(missing_ok=True)
        clock.sync(folder)

    with serve(folder / "remote", folder / "drive") as drive:
        env = {**os.environ, **drive.env()}
        fetch = [sys.executable, "-c", _FETCH, ROOT_ID, _FILE, folder / "part"]
        works = {
            "ours": lambda: clock.command(fetch, env),
            "single": lambda: clock.command([*copy, "--multi-thread-streams", "0"], env),
            "many": lambda: clock.command(copy, env),
        }
        found = clock.in_turns(bench.rounds, works, clean)
    what = f"download of {size * 1000:.0f} MB: `cat` into the file, md5 behind it"
    for name, words in (("single", "`rclone copy`, one stream"), ("many", "`rclone copy`, its own streams")):
        _line(bench, what, found["ours"], found[name], words, size)
    cores = middle(found["ours"], "cpu") / size / 8
    bench.line(5, "the same at 1 Gbit/s", f"{cores:.2f} cores", "-", "-", "less than 1 core", cores < 1)
    shutil.rmtree(folder)


def _line(bench: Bench, what: str, ours: list[Took], other: list[Took], words: str, size: float) -> None:
    def told(rounds: list[Took]) -> str:
        return f"{middle(rounds):.2f} s {clock.spread(rounds)}, CPU {middle(rounds, 'cpu') / size:.2f} s a GB"

    value = middle(ours, "cpu") / middle(other, "cpu")
    bench.line(5, what, told(ours), f"{words}: {told(other)}", f"CPU {value:.2f}", "-", None)
