"""What a person and systemd see while a run goes on: live bars in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.logging import RichHandler
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rm360_async.errors import Fault
from rm360_async.ledger import Ledger
from rm360_async.logs import Log, logger
from rm360_async.notify import Notifier
from rm360_async.service.metrics import Metrics
from rm360_async.service.progress import Progress, Snapshot, bar_text
from rm360_async.service.words import size_text, when

log = logger(__name__)
LOOK = 0.5
"""Seconds between two pictures of the live display; the ledger gets every fourth."""
LINE = 60.0
"""Seconds between two lines where there is no terminal."""
_BAR = 28


@contextmanager
def live_display(log_file: Log, wanted: bool) -> Iterator[Live | None]:
    """Give a live display on a terminal, with the log's lines above it; None elsewhere."""
    console = Console(stderr=True)
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


async def follow(
    progress: Progress, ledger: Ledger, run: int, notifier: Notifier, live: Live | None, metrics: Metrics | None
) -> None:
    """Show, note and tell how far the run is, until cancelled."""
    looks, next_line, told = 0, 0.0, ""
    while True:
        snapshot = progress.snapshot()
        if live is not None:
            live.update(picture(snapshot), refresh=True)
        if looks % 4 == 0:
            await _note(ledger, run, snapshot)
            notifier.status(snapshot.line())
            notifier.alive()
            if metrics is not None:
                await anyio.to_thread.run_sync(metrics.write, snapshot)
        if live is None and anyio.current_time() >= next_line and snapshot.line() != told:
            told, next_line = snapshot.line(), anyio.current_time() + LINE
            log.info(told)
        looks += 1
        await anyio.sleep(LOOK)


async def _note(ledger: Ledger, run: int, snapshot: Snapshot) -> None:
    try:
        await ledger.note_progress(run, snapshot.as_dict())
    except Fault as fault:  # a picture for onlookers: a full disk must not end the work for it
        log.warning(f"the progress could not be noted: {fault}")


def picture(snapshot: Snapshot) -> RenderableType:
    """Return the live display: a bar for each performance in hand, then the whole."""
    table = Table.grid(padding=(0, 1))
    for each in sorted(snapshot.in_hand, key=lambda each: (each.stage != "downloading", each.performance)):
        share = each.done / each.total if each.total else 0.0
        bar = ProgressBar(total=1.0, completed=min(share, 1.0), width=_BAR)
        table.add_row(each.performance, each.stage, bar, bar_text(each))
    whole = ProgressBar(total=max(snapshot.planned, 1), completed=snapshot.completed, width=_BAR)
    table.add_row("all", "", whole, snapshot.line())
    disk = f"{size_text(snapshot.free)} free" if snapshot.free is not None else ""
    end = f"expected end {when(snapshot.expected_end)}" if snapshot.expected_end else ""
    return Group(table, Text("  ".join(part for part in (disk, end) if part), style="dim"))
