"""Progress of a run for users and systemd: live bars in a terminal, elsewhere a log line once a minute."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, TextIO, cast

import anyio
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.style import Style
from rich.table import Table
from rich.text import Text

from rm360_async.domain.errors import Fault
from rm360_async.domain.formatting import duration_text, percent_text, share, size_text
from rm360_async.ledger import Ledger
from rm360_async.service.progress import Progress
from rm360_async.service.snapshot import Snapshot, bar_text, short_text
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.log import Log, emit_event, logger
from rm360_async.system.systemd import Notifier

if TYPE_CHECKING:  # its library is imported by those who want metrics
    from rm360_async.service.metrics import Metrics

log = logger(__name__)
REFRESH_SECONDS = 0.5
_REFRESHES_PER_STATUS = 4
_REFRESHES_PER_RECORD = 20
"""Ten seconds: the ledger syncs its disk for every change. systemd and the metrics get every fourth snapshot."""
LOG_LINE_SECONDS = 60.0
"""In the file whatever the terminal is, and on the console if it has no bars."""
SAME_LINE_SECONDS = 3600.0
"""After so long a line is written again although it is the same: the run is alive."""
PROGRESS_LOG = "rm360_async.progress"
progress_log = logger(PROGRESS_LOG)
_LEVEL_STYLES = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold red", "DEBUG": "dim"}
_NARROW, _WIDE = 60, 100
"""Columns below which there are no bars, and from which on everything is shown of a performance."""
_LINES_BESIDE_JOBS = 6


@contextmanager
def live_display(log_file: Log, enabled: bool) -> Iterator[Live | None]:
    """Give a live display on a terminal, with the lines of the log above it; None elsewhere."""
    console = Console(file=cast("IO[str]", _UnbreakableStream(sys.stderr)))
    if not enabled or not console.is_terminal or console.is_dumb_terminal:
        yield None
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        handler = _LinesAbove(console)
        handler.addFilter(lambda record: record.name != PROGRESS_LOG)  # the bars show it
        log_file.replace_console(handler)
        try:
            yield live
        finally:
            log_file.restore_console()


class _LinesAbove(logging.Handler):
    """Writes the lines of the log, as they are without a live display, above it."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line; a terminal that is gone loses it."""
        before, level, after = self.format(record).partition(record.levelname)
        style = Style.parse(_LEVEL_STYLES.get(record.levelname, ""))
        line = (Segment(before), Segment(level, style), Segment(after), Segment.line())
        self._console.print(_Line(line), crop=False)


@dataclass(frozen=True)
class _Line:
    """A line of the log, whatever its length: the terminal folds it, so that it is copied as one line."""

    segments: tuple[Segment, ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self.segments


class _UnbreakableStream:
    """A stream that may disappear (its terminal is closed): from then on its output is discarded."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._discarding_on_error():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._discarding_on_error():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _discarding_on_error(self) -> Iterator[None]:
        try:
            yield
        except OSError:  # redirect the descriptor, so that even the interpreter's last flush succeeds
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


async def report_progress(
    progress: Progress, ledger: Ledger, run: int, notifier: Notifier, live: Live | None, metrics: Metrics | None
) -> None:
    """Show and record the progress of run number `run` until cancelled."""
    refreshes, next_line_at, last_line, recorded = 0, 0.0, "", True
    while True:
        snapshot = progress.snapshot()
        if live is not None:
            live.update(render(snapshot), refresh=True)
        if refreshes % _REFRESHES_PER_RECORD == 0:
            recorded = await record_snapshot(ledger, run, snapshot, log_failure=recorded)
        if refreshes % _REFRESHES_PER_STATUS == 0:
            notifier.show_status(snapshot.line())
            if metrics is not None:
                await on_disk_thread(metrics.write, snapshot)
        if anyio.current_time() >= (next_line_at if snapshot.line() != last_line else next_line_at + SAME_LINE_SECONDS):
            last_line, next_line_at = snapshot.line(), anyio.current_time() + LOG_LINE_SECONDS
            progress_log.info(last_line)
            emit_event("progress", **snapshot.as_dict())
        refreshes += 1
        await anyio.sleep(REFRESH_SECONDS)


async def record_snapshot(ledger: Ledger, run: int, snapshot: Snapshot, *, log_failure: bool) -> bool:
    """Record the snapshot for `status`; return False if that failed, which is logged once."""
    try:
        fetched = {job.performance: job.fetched for job in snapshot.in_hand}
        await ledger.runs.record_progress(run, snapshot.as_dict(), fetched)
    except Fault as fault:  # only `status` needs it: a full disk must not stop the run for it
        if log_failure:
            log.warning(f"cannot record the progress for `rm360 status`: {fault}")
        return False
    return True


def render(snapshot: Snapshot) -> RenderableType:
    """Return the live display: a line for each performance being processed, one for all of them, and the totals."""
    return _LiveDisplay(snapshot)


@dataclass(frozen=True)
class _LiveDisplay:
    """One line for each performance, whatever the width: without a bar in a narrow terminal, with rates in a wide one.

    There are no more lines than fit on the screen, because what does not fit would be cut off at the end.
    """

    snapshot: Snapshot

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        snapshot, width = self.snapshot, options.max_width
        jobs = sorted(snapshot.in_hand, key=lambda job: (job.stage != "downloading", job.performance))
        shown = jobs[: max(1, options.size.height - _LINES_BESIDE_JOBS)]
        table = Table.grid(padding=(0, 1), expand=True)
        columns = ("performance", "stage", "bar", "text") if width >= _NARROW else ("performance", "stage", "text")
        for column in columns:
            ratio = 1 if column == "bar" or (column == "text" and width < _NARROW) else None
            table.add_column(no_wrap=True, overflow="ellipsis", ratio=ratio)
        for job in shown:
            text = bar_text(job) if width >= _WIDE else short_text(job)
            self._add_row(table, (job.performance, job.stage, text), share(job.done, job.total))
        done = snapshot.completed + snapshot.failed
        text = percent_text(done, snapshot.planned)
        text += f", {done} of {snapshot.planned} ended" if width >= _NARROW else ""
        self._add_row(table, ("all", "", text), share(done, snapshot.planned))
        yield table
        if len(jobs) > len(shown):
            yield Text(f"and {len(jobs) - len(shown)} more")
        yield Text(_totals_text(snapshot), style="dim")

    def _add_row(self, table: Table, texts: tuple[str, str, str], done: float) -> None:
        performance, stage, text = (Text(each) for each in texts)
        if len(table.columns) == len(texts):
            table.add_row(performance, stage, text)
        else:
            table.add_row(performance, stage, ProgressBar(total=1.0, completed=done), text)


def _totals_text(snapshot: Snapshot) -> str:
    left = snapshot.expected_end - snapshot.at if snapshot.expected_end else None
    parts = [snapshot.line()]
    parts += [f"about {duration_text(left)} left"] if left is not None else []
    parts += [f"{size_text(snapshot.free)} free on the output disk"] if snapshot.free is not None else []
    return ", ".join(part for part in parts if part)
