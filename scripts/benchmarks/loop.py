"""Part `loop`: the longest silence of the service's event loop while each call on its disk takes long.

The event loop feeds a watchdog every hundredth of a second; the longest time between two messages is its silence. The
slow disk is a preloaded library (tests/disk_calls.c) that delays each call of the service which names, syncs or locks a
file; child processes are as fast as ever.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from benchmarks.inputs import RM360, link_remote, write_config, write_single_frame
from benchmarks.table import Bench
from disk_calls import build_library, disk_environment, service_manager

_NAMES = ("e0", "e1", "e2", "e3")
_DELAY_SECONDS = 0.02
_WATCHDOG_SECONDS = 0.02
_MAX_SILENCE_SECONDS = 0.2


def measure(bench: Bench) -> None:
    """Add the line of a slow disk beside that of the disk as it is."""
    if shutil.which("cc") is None:
        bench.add_line("longest silence of the event loop", "there is no C compiler (cc)", "-", "-", "-", None)
        return
    folder = bench.new_folder("loop")
    library = build_library(folder)
    remote = folder / "remote"
    link_remote(remote, write_single_frame(folder / "single.smc"), 10 if bench.full else 1, _NAMES)
    silences = [_longest_silence(folder / str(delay), remote, library, delay) for delay in (0.0, _DELAY_SECONDS)]
    bench.add_line(
        f"longest silence of the event loop, {_DELAY_SECONDS * 1000:.0f} ms for each call on the disk",
        f"{silences[1]:.3f} s",
        f"the disk as it is: {silences[0]:.3f} s",
        f"{silences[1]:.3f} s",
        f"at most {_MAX_SILENCE_SECONDS} s",
        silences[1] <= _MAX_SILENCE_SECONDS,
    )


def _longest_silence(folder: Path, remote: Path, library: Path, delay: float) -> float:
    """Run the service to its end; return the most seconds between two messages to its watchdog."""
    folder.mkdir()
    config, env = write_config(folder, remote)
    disk = disk_environment(library, folder / "work", delay_seconds=delay)
    with service_manager() as manager:
        env = {**env, **disk, **manager.environment(_WATCHDOG_SECONDS)}
        subprocess.run([*RM360, "run", str(config)], env=env, check=True, stdout=subprocess.DEVNULL)
    fed = [moment for moment, message in manager.messages if message == "WATCHDOG=1"]
    return max(later - earlier for earlier, later in pairwise(fed))
