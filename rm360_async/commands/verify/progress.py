"""The progress of `rm360 verify`: a live bar in a terminal, elsewhere a line on standard error once a minute."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from rm360_async.domain.formatting import size_text

_LINE_SECONDS = 60.0


class _Counts(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(counts_text(task))


def counts_text(task: Task) -> str:
    """Return e.g. `12 of 312 folders, 3.2 GB of 1.2 TB`; the bytes only if they are counted."""
    text = f"{task.fields['checked']} of {task.fields['folders']} folders"
    if not task.fields["counts_bytes"]:
        return text
    return f"{text}, {size_text(task.completed)} of {size_text(task.total or 0)}"


class VerifyProgress:
    """Counts the checked folders and, if `total_bytes` is known, the bytes read; any thread may add bytes."""

    def __init__(self, folders: int, total_bytes: int, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), _Counts(), TimeRemainingColumn())
        self.bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self.bar.add_task(
            "verify", total=total_bytes or folders, checked=0, folders=folders, counts_bytes=bool(total_bytes)
        )
        self._counts_bytes = bool(total_bytes)

    @property
    def task(self) -> Task:
        """Return the counts."""
        return self.bar.tasks[0]

    def add_bytes(self, size: int) -> None:
        """Count bytes that were read."""
        if self._counts_bytes:
            self.bar.advance(self._task, size)

    def add_folder(self) -> None:
        """Count a folder that was checked."""
        self.bar.update(self._task, checked=self.task.fields["checked"] + 1)
        if not self._counts_bytes:
            self.bar.advance(self._task)

    async def print_lines(self) -> None:
        """Print a line once a minute until cancelled."""
        while True:
            await anyio.sleep(_LINE_SECONDS)
            print(f"verify: {counts_text(self.task)}", file=sys.stderr, flush=True)


@asynccontextmanager
async def verify_progress(folders: int, total_bytes: int) -> AsyncIterator[VerifyProgress]:
    """Show the progress of the block; `total_bytes` is 0 if bytes are not counted."""
    console = Console(stderr=True)
    progress = VerifyProgress(folders, total_bytes, console)
    with progress.bar:
        async with anyio.create_task_group() as tasks:
            if not console.is_terminal:
                tasks.start_soon(progress.print_lines)
            yield progress
            tasks.cancel_scope.cancel()
