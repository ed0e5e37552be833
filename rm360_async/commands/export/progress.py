"""The progress of `rm360 export`: live bars in a terminal, elsewhere a line on standard error once a minute."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

_LINE_SECONDS = 60.0


class ExportProgress:
    """One bar for all performances, and one for each that is being exported."""

    def __init__(self, performances: int, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._all = self.bar.add_task("performances", total=performances)

    def begin(self, name: str) -> TaskID:
        """Show one more performance."""
        return self.bar.add_task(name, total=None)

    def set_total(self, task: TaskID, units: int) -> None:
        """Set how many units it has."""
        self.bar.update(task, total=units)

    def advance(self, task: TaskID) -> None:
        """Count one unit."""
        self.bar.advance(task)

    def end(self, task: TaskID) -> None:
        """Remove its bar, and count it."""
        self.bar.remove_task(task)
        self.bar.advance(self._all)

    async def print_lines(self) -> None:
        """Print a line once a minute until cancelled."""
        while True:
            await anyio.sleep(_LINE_SECONDS)
            task = self.bar.tasks[0]
            print(f"export: {task.completed:.0f} of {task.total:.0f} performances", file=sys.stderr, flush=True)


@asynccontextmanager
async def export_progress(performances: int) -> AsyncIterator[ExportProgress]:
    """Show the progress of the block."""
    console = Console(stderr=True)
    progress = ExportProgress(performances, console)
    with progress.bar:
        async with anyio.create_task_group() as tasks:
            if not console.is_terminal:
                tasks.start_soon(progress.print_lines)
            yield progress
            tasks.cancel_scope.cancel()
