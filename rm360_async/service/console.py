"""What a person and systemd see while a run goes on: live bars in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, TextIO, cast

import anyio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.logging import RichHandler
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rm360_async.domain.errors import Fault
from rm360_async.domain.formatting import duration_text, size_text
from rm360_async.ledger import Ledger
from rm360_async.service.metrics import Metrics
from rm360_async.service.progress import Progress
from rm360_async.service.snapshot import Snapshot, bar_text
from rm360_async.system.log import Log, logger
from rm360_async.system.systemd import Notifier

log = logger(__name__)
LOOK = 0.5
"""Seconds between two pictures of the live display; the ledger gets every fourth."""
LINE = 60.0
"""Seconds between two lines where there is no terminal."""
_BAR = 28


@contextmanager
def live_display(log_file: Log, wanted: bool) -> Iterator[Live | None]:
    """Give a live display on a terminal, with the log's lines above it; None elsewhere."""
    console = Console(file=cast("IO[str]", _Terminal(sys.stderr)))
    if not wanted or not console.is_terminal or console.is_dumb_terminal:
        yield None
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        handler = RichHandler(console=console, show_path=False, markup=False, log_time_format="%H:%M:%S")
        handler.setFormatter(logging.Formatter("%(message)s"))
        log_file.replace_console(handler)
        try:
            yield live
        finally:
            log_file.restore_console()


class _Terminal:
    """A stream that may go away under us (a closed window): what it cannot show is lost, and nothing else."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._outliving():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._outliving():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _outliving(self) -> Iterator[None]:
        try:
            yield
        except OSError:  # the rest goes nowhere, so that not even the interpreter's last flush fails
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


async def follow(
    progress: Progress, ledger: Ledger, run: int, notifier: Notifier, live: Live | None, metrics: Metrics | None
) -> None:
    """Show, note and tell how far the run is, until cancelled."""
    looks, next_line, told, noted = 0, 0.0, "", True
    while True:
        snapshot = progress.snapshot()
        if live is not None:
            live.update(picture(snapshot), refresh=True)
        if looks % 4 == 0:
            noted = await _note(ledger, run, snapshot, tell=noted)
            notifier.status(snapshot.line())
            notifier.alive()
            if metrics is not None:
                await anyio.to_thread.run_sync(metrics.write, snapshot)
        if live is None and anyio.current_time() >= next_line and snapshot.line() != told:
            told, next_line = snapshot.line(), anyio.current_time() + LINE
            log.info(told)
        looks += 1
        await anyio.sleep(LOOK)


async def _note(ledger: Ledger, run: int, snapshot: Snapshot, *, tell: bool) -> bool:
    """Leave the snapshot for `status`; False when there was no room for it, which is told once."""
    try:
        await ledger.runs.record_progress(run, snapshot.as_dict())
    except Fault as fault:  # a picture for onlookers: a full disk must not end the work for it
        if tell:
            log.warning(f"the progress could not be noted: {fault}")
        return False
    return True


def picture(snapshot: Snapshot) -> RenderableType:
    """Return the live display: a bar for each performance in hand, then the whole."""
    table = Table.grid(padding=(0, 1))
    for each in sorted(snapshot.in_hand, key=lambda each: (each.stage != "downloading", each.performance)):
        share = each.done / each.total if each.total else 0.0
        bar = ProgressBar(total=1.0, completed=min(share, 1.0), width=_BAR)
        table.add_row(each.performance, each.stage, bar, bar_text(each))
    whole = ProgressBar(total=max(snapshot.planned, 1), completed=snapshot.completed, width=_BAR)
    table.add_row("all", "", whole, snapshot.line())
    left = snapshot.expected_end - snapshot.at if snapshot.expected_end else None
    end = f"about {duration_text(left)} to go" if left is not None else ""
    disk = f"{size_text(snapshot.free)} free on the output disk" if snapshot.free is not None else ""
    return Group(table, Text("  ".join(part for part in (end, disk) if part), style="dim"))
