"""Measure speed, memory and requests, each side by side with a floor or with the usual way.

Without arguments all parts in their quick form (under three minutes); `--full` at the dataset's real sizes (hours:
the soak alone is 10,000 performances). Each line has its target and whether it is met; the exit code is 1 when one is
missed. While other programs use the machine, look at ratios and CPU seconds, not at wall seconds.

\b
Parts:
  extract    a full-resolution file: start-up, the usual way, the same bytes from memory, cold against `cp`
  big        a file of 60 x 6,600 frames: index, memory; FLAME
  catalogue  500 x 19 performances in the ledger: first download, moves, manifest, `status`
  soak       memory of the service over 10,000 performances, drawn in build/soak.svg (full form)
  overlap    whole runs with no cap and under caps
  download   downloads over HTTPS
  growth     1, 4 and 16 times the work
  loop       the longest silence of the event loop on a slow disk
  export     exports of full-resolution pictures: for each view, for each picture of a film
  line       runs over slow, long, changing and refusing lines, beside `rclone copy` (not among "all")
  cluster    1 and 4 nodes under a cap for each; what the coordinator costs (not among "all")
  ranges     bytes, requests and seconds of a part of a file (its own table and options; not among "all")

\b
Examples:
  scripts/bench                     all parts, quick
  scripts/bench --full extract big  two parts at real sizes
  scripts/bench ranges --help       the options of that part
"""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click
from benchmarks import big, catalogue, cluster, download, export, extract, growth, line, loop, overlap, soak
from benchmarks.ranges import ranges
from benchmarks.table import Bench, require_disk

PARTS: dict[str, Callable[[Bench], None]] = {
    "extract": extract.measure,
    "big": big.measure,
    "catalogue": catalogue.measure,
    "soak": soak.measure,
    "overlap": overlap.measure,
    "download": download.measure,
    "growth": growth.measure,
    "loop": loop.measure,
    "export": export.measure,
}
EXTRA_PARTS = {"line": line.measure, "cluster": cluster.measure}
"""Parts that take many minutes even in their quick form, and are not among "all"."""
_QUICK_GB, _FULL_GB = 4.0, 15.0


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("parts", nargs=-1, type=click.Choice([*PARTS, *EXTRA_PARTS, "all"]))
@click.option("--full", is_flag=True, help="Everything at the dataset's real sizes.")
@click.option("--rounds", default=3, show_default=True, help="Counted rounds of each side, in turns.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where to work (default: a temporary folder).")
def main(parts: tuple[str, ...], full: bool, rounds: int, folder: Path | None) -> None:
    """Measure the parts and print the table."""
    chosen = list(PARTS) if not parts or "all" in parts else list(dict.fromkeys(parts))
    workspace = Path(tempfile.mkdtemp(prefix="rm360-bench-", dir=folder)).resolve()
    try:
        require_disk(workspace, _FULL_GB if full else _QUICK_GB)
        bench = Bench(workspace, full, rounds)
        for part in chosen:
            bench.start_part(part)
            {**PARTS, **EXTRA_PARTS}[part](bench)
    finally:
        shutil.rmtree(workspace)
    print(f"\n{bench.table()}\n\n{bench.missed} targets missed")
    sys.exit(1 if bench.missed else 0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends what was started, and removes the folder
    if sys.argv[1:2] == ["ranges"]:
        ranges(sys.argv[2:])
    main()
