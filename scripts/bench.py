"""Measure what this promises about speed, memory and requests, side by side with floors and with the usual way.

Without arguments all parts in their quick form (under three minutes); `--full` at the dataset's real sizes (hours:
the soak alone is 10,000 performances). Each line has its bar and whether it is met; the exit code is 1 when one is
missed. Beside other work on the machine look at ratios and CPU seconds, not at seconds.

\b
Parts:
  extract     1  a full-resolution file: start-up, the usual way, the same bytes from memory, cold against `cp`
  big         2  a file of 60 x 6,600 frames: index, memory; FLAME
  catalogue   3  500 x 19 performances in the ledger: first download, steps, manifest, `status`
  soak        3  memory of the service over 10,000 performances, drawn in build/soak.svg (full form)
  overlap     4  whole runs with no cap and under caps
  download    5  the download path over HTTPS
  growth      6  1, 4 and 16 times the work
  ranges         bytes, requests and seconds of a part of a file (its own table; not among "all")

\b
Examples:
  scripts/bench                     all parts, quick
  scripts/bench --full extract big  two parts at real sizes
"""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import click
from benchmarks import big_file, catalogue, download, end_to_end, extraction, growth, soak
from benchmarks.ranges import ranges
from benchmarks.table import Bench, require_disk

PARTS: dict[str, Callable[[Bench], None]] = {
    "extract": extraction.measure,
    "big": big_file.measure,
    "catalogue": catalogue.measure,
    "soak": soak.measure,
    "overlap": end_to_end.measure,
    "download": download.measure,
    "growth": growth.measure,
}
_QUICK_GB, _FULL_GB = 4.0, 15.0


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("parts", nargs=-1, type=click.Choice([*PARTS, "all"]))
@click.option("--full", is_flag=True, help="Everything at the dataset's real sizes.")
@click.option("--rounds", default=3, show_default=True, help="Counted rounds of each side, in turns.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where to work (default: a temporary folder).")
def bench(parts: tuple[str, ...], full: bool, rounds: int, folder: Path | None) -> None:
    """Measure the parts and print the table."""
    chosen = list(PARTS) if not parts or "all" in parts else list(dict.fromkeys(parts))
    made = Path(tempfile.mkdtemp(prefix="rm360-bench-", dir=folder)).resolve()
    try:
        require_disk(made, _FULL_GB if full else _QUICK_GB)
        measured = Bench(made, full, rounds)
        for part in chosen:
            PARTS[part](measured)
            measured.clear()
    finally:
        shutil.rmtree(made)
    print(f"\n{measured.table()}\n\n{measured.missed} bars missed")
    sys.exit(1 if measured.missed else 0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what was begun is ended and removed
    if sys.argv[1:2] == ["ranges"]:
        ranges(sys.argv[2:])
    bench()
