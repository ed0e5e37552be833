"""A progress line on standard error for commands that read for long: live in a terminal, now and then elsewhere."""

from __future__ import annotations

import sys
import threading
import time

import anyio

from rm360_async.domain.formatting import duration_text, size_text

_LOOK = 0.5
_LINE = 60.0


class ProgressLine:
    """How far a command has come: `items` of `total` are done; bytes are added from any thread."""

    def __init__(self, name: str, total: int, total_bytes: int = 0) -> None:
        self.name, self.total, self.total_bytes = name, total, total_bytes
        self.items = self.bytes = 0
        self._lock = threading.Lock()
        self._start = time.monotonic()
        self._shown = False

    def add_bytes(self, size: int) -> None:
        """Note bytes that were read."""
        with self._lock:
            self.bytes += size

    def line(self) -> str:
        """Return e.g. `verify: 12 of 312 folders, 3.2 GB of 1.2 TB, 250 MB/s, about 1 h 20 min left`."""
        text = f"{self.name}: {self.items} of {self.total} folders"
        seconds = time.monotonic() - self._start
        if not self.bytes or seconds <= 0:
            return text
        rate = self.bytes / seconds
        text += f", {size_text(self.bytes)} of {size_text(self.total_bytes)}, {size_text(rate)}/s"
        left = max(0, self.total_bytes - self.bytes) / rate
        return f"{text}, about {duration_text(left)} left"

    async def follow(self) -> None:
        """Show the line until cancelled."""
        live = sys.stderr.isatty()
        while True:
            await anyio.sleep(_LOOK if live else _LINE)
            if live:
                print(f"\r\x1b[K{self.line()}", end="", file=sys.stderr, flush=True)
                self._shown = True
            else:
                print(self.line(), file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the live line away."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
