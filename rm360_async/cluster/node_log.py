"""The log of a node: lines on the console, and while it serves a run, in a file of its own beside the run's log too."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from rm360_async.cluster.dask_node import NodeLink
from rm360_async.config import Settings
from rm360_async.domain.errors import Fault
from rm360_async.system import log as logs
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.os_errors import os_errors

_PACKAGE = logging.getLogger(logs.PACKAGE)
_CLOSE_SECONDS = 10.0
_console = logging.StreamHandler(sys.stderr)
_console.setFormatter(logging.Formatter("%(asctime)s %(levelname)-5s %(message)s", "%Y-%m-%d %H:%M:%S"))


def log_to_console() -> None:
    """Write lines to the console, from INFO on."""
    _PACKAGE.addHandler(_console)
    _PACKAGE.setLevel(logging.INFO)


@asynccontextmanager
async def logged_to_file(settings: Settings, name: str) -> AsyncIterator[None]:
    """Write to `<log_dir>/node-<name>.log` as well while the block runs; without it if it cannot be written."""
    path = settings.storage.log_dir / f"node-{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}.log"
    try:
        log = await on_disk_thread(_opened, path, settings)
    except Fault as fault:
        _PACKAGE.warning("the log of this node is only on its console: %s", fault)
        yield
        return
    _PACKAGE.removeHandler(_console)
    try:
        yield
    finally:
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):  # its disk may hang
            await on_disk_thread(log.close, abandon=True)
        log_to_console()


def _opened(path: Path, settings: Settings) -> logs.Log:
    level = settings.logging.level
    with os_errors("write", path, "check storage.log_dir on this machine"):
        path.parent.mkdir(parents=True, exist_ok=True)
        return logs.Log(path, level, True, settings.logging.max_file_bytes, level)


class WarningsSent(logging.Handler):
    """Sends the warnings of this process to the run while the block runs."""

    def __init__(self, link: NodeLink) -> None:
        super().__init__(logging.WARNING)
        self._link, self._loop = link, asyncio.get_running_loop()

    def emit(self, record: logging.LogRecord) -> None:
        """Send one line; from any thread."""
        self._loop.call_soon_threadsafe(self._link.send, {"kind": "log", "text": record.getMessage()})

    def __enter__(self) -> None:
        _PACKAGE.addHandler(self)

    def __exit__(self, *_: object) -> None:
        _PACKAGE.removeHandler(self)
