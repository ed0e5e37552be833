"""Part `cluster`: wall time with 1 and 4 nodes under a cap for each, and what the coordinator costs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.inputs import PERFORMANCES, RM360, link_remote, write_config, write_full_resolution
from benchmarks.table import Bench

_HERE = Path(__file__).parent
_MB = 1_000_000
_CAP, _FILE_MB, _FILES = "3M", 10, 12
_MAX_SHARE = 0.4
_MAX_CPU_MS, _MAX_MB, _MAX_IDLE_SHARE = 20, 250, 0.05


def measure(bench: Bench) -> None:
    """Add the lines of a cluster."""
    _add_speed(bench)
    count = 10_000 if bench.full else 1000
    busy = _coordinator(bench, ["--performances", str(count)])
    cpu = busy["cpu"] / count * 1000
    bench.add_line(
        f"coordinator, {count:,} simulated performances, 4 nodes", f"CPU {busy['cpu']:.1f} s, {busy['wall']:.1f} s",
        "-", f"{cpu:.1f} ms each", f"at most {_MAX_CPU_MS} ms", cpu <= _MAX_CPU_MS,
    )  # fmt: skip
    size = busy["peak"] / _MB
    bench.add_line(
        "its memory", f"{size:.0f} MB at most", "-", f"{size:.0f} MB", f"at most {_MAX_MB} MB", size <= _MAX_MB
    )
    idle = _coordinator(bench, ["--idle", "20", "--nodes", "100"])
    share = idle["cpu"] / idle["wall"]
    bench.add_line(
        "coordinator, 100 idle nodes", f"CPU {idle['cpu']:.2f} s in {idle['wall']:.0f} s", "-",
        f"{share:.1%} of a core", f"at most {_MAX_IDLE_SHARE:.0%}", share <= _MAX_IDLE_SHARE,
    )  # fmt: skip


def _add_speed(bench: Bench) -> None:
    folder = bench.new_folder("cluster")
    remote = folder / "remote"
    file = write_full_resolution(folder / "one.smc", _FILE_MB)
    link_remote(remote, file, 1, PERFORMANCES[:_FILES])
    seconds = {nodes: _run(folder / f"nodes-{nodes}", remote, nodes) for nodes in (1, 4)}
    share = seconds[4] / seconds[1]
    bench.add_line(
        f"{_FILES} files of {file.stat().st_size / _MB:.0f} MB, 4 nodes of {_CAP}iB/s each", f"{seconds[4]:.1f} s",
        f"1 node: {seconds[1]:.1f} s", f"{share:.2f}", f"at most {_MAX_SHARE}", share <= _MAX_SHARE,
    )  # fmt: skip


def _run(folder: Path, remote: Path, count: int) -> float:
    """Return the seconds of a run, from its start to its end; the nodes wait for it, as they would."""
    file = folder / "cluster.json"
    config, env = write_config(folder, remote, cluster={"scheduler_file": str(file)})
    env = {**env, "RCLONE_BWLIMIT": _CAP}
    nodes = []
    try:
        for number in range(count):
            options = [
                "--scheduler-file",
                str(file),
                "--name",
                f"n{number}",
                "--temp-dir",
                str(folder / f"temp-{number}"),
            ]
            nodes.append(subprocess.Popen([*RM360, "node", *options], env=env, stderr=subprocess.DEVNULL))
        time.sleep(4)
        start = time.monotonic()
        subprocess.run([*RM360, "run", str(config)], env=env, check=True, stderr=subprocess.DEVNULL)
        return time.monotonic() - start
    finally:
        for node in nodes:
            node.terminate()
        for node in nodes:
            node.wait()


def _coordinator(bench: Bench, arguments: list[str]) -> dict[str, Any]:
    """Return what the coordinator of simulated nodes has measured of itself."""
    folder = bench.new_folder("coordinator")
    command = [sys.executable, str(_HERE / "cluster_coordinator.py"), str(folder), *arguments]
    ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(ended.stdout)
    return result
