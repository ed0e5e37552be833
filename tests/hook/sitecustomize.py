"""Do something at a named function: loaded by every Python that a test starts with this folder on PYTHONPATH.

RM360_LAB holds a JSON list. Each entry: `at` ("module:Class.method"), `when` ("before" or "after" it), `call` (the
how manieth call, from 1), `side` ("service", "worker" or "scout"), `match` (a word of the worker's job), `once` (a
path: only for the first process that makes it), and `do`:
kill, kill_parent, kill_all (every process that was started with the same RCLONE_CONFIG, ourselves last), segv, hang,
swell, gate (make `<path>.reached`, then wait until `path` is there), no_room (fail as SQLite does on a full disk,
while `path` is there), fill (take all but `leave` bytes of the disk of `path`), or use_up (all but `leave` inodes).
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import inspect
import json
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import wraps
from types import ModuleType
from typing import Any

Entry = dict[str, Any]
SIDES = {"rm360_async.extraction.worker": "worker", "rm360_async.download.ranges.worker": "scout"}
"""Which child of the service a command line is."""
PARENT = os.getppid()
"""Of a child the service, also for the processes that the child forks."""


def act(entry: Entry) -> None:
    """Do what the entry says."""
    if "once" in entry:
        try:
            os.close(os.open(entry["once"], os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
    actions: dict[str, Callable[[], None]] = {
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "kill_parent": lambda: os.kill(PARENT, signal.SIGKILL),
        "kill_all": kill_all,
        "segv": lambda: os.kill(os.getpid(), signal.SIGSEGV),
        "hang": lambda: time.sleep(1e6),
        "swell": swell,
        "gate": lambda: barrier(entry["path"]),
        "no_room": lambda: no_room(entry["path"]),
        "fill": lambda: fill(entry["path"], entry["leave"]),
        "use_up": lambda: use_up(entry["path"], entry["leave"]),
    }
    actions[entry["do"]]()


def kill_all() -> None:
    """Kill all of a run: the service, its workers, its rclones."""
    mark = f"RCLONE_CONFIG={os.environ['RCLONE_CONFIG']}\0".encode()
    for name in os.listdir("/proc"):
        if not name.isdecimal() or int(name) == os.getpid():
            continue
        with suppress(OSError):
            with open(f"/proc/{name}/environ", "rb") as environ:
                if mark not in environ.read():
                    continue
            os.kill(int(name), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def swell() -> None:
    """Take memory until there is none (zeroes that are never written to cost only address space)."""
    taken = []
    while True:
        taken.append(bytes(2**28))


def barrier(path: str) -> None:
    """Say that we are here, and wait until we may go on."""
    with open(f"{path}.reached", "w"):
        pass
    while not os.path.exists(path):
        time.sleep(0.005)


def no_room(path: str) -> None:
    """Fail as SQLite does on a full disk, which needs a ledger that has to grow just then."""
    if os.path.exists(path):
        raise sqlite3.OperationalError("database or disk is full")


def fill(path: str, leave: int) -> None:
    """Take all but some bytes of a disk, in one file."""
    disk = os.statvfs(os.path.dirname(path))
    size = disk.f_bavail * disk.f_frsize - leave
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    if size > 0:
        os.posix_fallocate(file, os.fstat(file).st_size, size)
    os.close(file)


def use_up(path: str, leave: int) -> None:
    """Take all but some inodes of a disk, one file each."""
    for number in range(os.statvfs(os.path.dirname(path)).f_favail - leave):
        os.close(os.open(f"{path}.{number}", os.O_WRONLY | os.O_CREAT, 0o666))


def hooked(original: Callable[..., Any], entry: Entry) -> Callable[..., Any]:
    """Return the function with the entry's deed before or after it, at the wanted call."""
    calls = 0

    def due(when: str) -> bool:
        return bool(entry.get("when", "before") == when and calls == entry.get("call", calls))

    if inspect.iscoroutinefunction(original):

        @wraps(original)
        async def later(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if due("before"):
                act(entry)
            result = await original(*arguments, **named)
            if due("after"):
                act(entry)
            return result

        return later

    @wraps(original)
    def at_once(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if due("before"):
            act(entry)
        result = original(*arguments, **named)
        if due("after"):
            act(entry)
        return result

    return at_once


def patch(module: ModuleType, entries: Sequence[Entry]) -> None:
    """Put the hooks of a module in place."""
    for entry in entries:
        *path, name = entry["at"].split(":")[1].split(".")
        owner: Any = module
        for part in path:
            owner = getattr(owner, part)
        setattr(owner, name, hooked(getattr(owner, name), entry))


class Finder(importlib.abc.MetaPathFinder):
    """Patches each named module as soon as it is imported."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries: dict[str, list[Entry]] = {}
        for entry in entries:
            self.entries.setdefault(entry["at"].split(":")[0], []).append(entry)

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        """Return the module's own spec, with our patch after its loading."""
        entries = self.entries.pop(fullname, None)
        if entries is None:
            return None
        spec = importlib.util.find_spec(fullname)
        assert spec is not None and spec.loader is not None
        load = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            patch(module, entries)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def ours(entry: Entry) -> bool:
    """Tell whether the entry is meant for this process."""
    command = " ".join(sys.orig_argv)
    side = next((side for word, side in SIDES.items() if word in command), "service")
    return side == entry.get("side", "service") and entry.get("match", "") in command


if "RM360_LAB" in os.environ:
    sys.meta_path.insert(0, Finder([entry for entry in json.loads(os.environ["RM360_LAB"]) if ours(entry)]))
