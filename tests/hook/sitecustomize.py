"""Act at fault points: loaded by every Python that a test starts with this folder on PYTHONPATH.

Workers heed no PYTHONPATH and get few variables. So in the service this module also replaces the launcher of its
children by `launch.py` in this folder, and adds what it needs to the variables that workers get.

RM360_FAULT_HOOKS holds a JSON list of hooks. Each has `point` (see rm360_async/system/fault_points.py), `nth` (which
time that the process reaches the point, from 1; without it every time), `side` ("service", "worker" or "range
worker"), `match` (a part of the process's command line, or of its name, which for a worker is its performance), `once`
(a path: only the first process that creates it acts), and `do`:

kill, kill_parent       SIGKILL to this process, or to the service that started it
kill_all                SIGKILL to every process with the same RCLONE_CONFIG, this one last
segv, hang              die by SIGSEGV, sleep for ever
exhaust_memory          allocate until there is no memory left
barrier                 create `<path>.reached`, then wait until `path` exists
mark                    create `path`
no_room                 fail as SQLite does on a full disk, as long as `path` exists
fill, use_inodes        take all but `leave` bytes (or inodes) of the disk of `path`

RM360_FAULT_CONSTANTS holds a JSON object: by module, the constants that have other values, such as a wait.
"""

from __future__ import annotations

import faulthandler
import importlib.abc
import importlib.util
import json
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

Hook = dict[str, Any]
SIDES = {"rm360_async.extraction.worker": "worker", "rm360_async.download.ranges.worker": "range worker"}
"""Which side a process is, by a part of its command line; every other one is the service."""
PARENT = os.getppid()
"""The service, as seen from a child of it and from the processes that the child forks."""


def act(hook: Hook) -> None:
    """Do what the hook says."""
    if "once" in hook:
        try:
            os.close(os.open(hook["once"], os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
    actions: dict[str, Callable[[], object]] = {
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "kill_parent": lambda: os.kill(PARENT, signal.SIGKILL),
        "kill_all": kill_all,
        "segv": lambda: os.kill(os.getpid(), signal.SIGSEGV),
        "hang": lambda: time.sleep(1e6),
        "exhaust_memory": exhaust_memory,
        "barrier": lambda: wait_at_barrier(Path(hook["path"])),
        "mark": lambda: Path(hook["path"]).touch(),
        "no_room": lambda: fail_for_lack_of_room(Path(hook["path"])),
        "fill": lambda: fill(hook["path"], hook["leave"]),
        "use_inodes": lambda: use_inodes(hook["path"], hook["leave"]),
    }
    actions[hook["do"]]()


def kill_all() -> None:
    """Kill all processes of a run: the service, its workers, its rclones."""
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


def exhaust_memory() -> None:
    """Allocate zeroed memory, which costs only address space, until there is none left."""
    blocks = []
    while True:
        blocks.append(bytes(2**28))


def wait_at_barrier(path: Path) -> None:
    """Create `<path>.reached`, and wait until `path` exists."""
    Path(f"{path}.reached").touch()
    while not path.exists():
        time.sleep(0.005)


def fail_for_lack_of_room(path: Path) -> None:
    """Fail as SQLite does on a full disk; a really full disk does so only when the ledger has to grow."""
    if path.exists():
        raise sqlite3.OperationalError("database or disk is full")


def fill(path: str, leave: int) -> None:
    """Take all but `leave` bytes of a disk, in one file."""
    disk = os.statvfs(os.path.dirname(path))
    size = disk.f_bavail * disk.f_frsize - leave
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    if size > 0:
        os.posix_fallocate(file, os.fstat(file).st_size, size)
    os.close(file)


def use_inodes(path: str, leave: int) -> None:
    """Take all but `leave` inodes of a disk, one file each."""
    for number in range(os.statvfs(os.path.dirname(path)).f_favail - leave):
        os.close(os.open(f"{path}.{number}", os.O_WRONLY | os.O_CREAT, 0o666))


def reach_with(hooks: Sequence[Hook]) -> Callable[[str], None]:
    """Return the function that takes the place of `fault_points.reach`."""
    counted = [(hook, count(1)) for hook in hooks]

    def reach(point: str) -> None:
        for hook, times in counted:
            if hook["point"] == point and matches_process(hook) and hook.get("nth") in (None, next(times)):
                act(hook)

    return reach


class Finder(importlib.abc.MetaPathFinder):
    """Changes some modules of the package as soon as they are imported."""

    def __init__(self, changes: dict[str, Callable[[Any], None]]) -> None:
        self.changes = changes

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        """Return the spec of a module to change with a loader that changes it; None for all other modules."""
        change = self.changes.pop(fullname, None)
        if change is None:
            return None
        spec = importlib.util.find_spec(fullname)
        assert spec is not None and spec.loader is not None
        load = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            change(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def is_for_this_side(hook: Hook) -> bool:
    """Return True if the hook's side is that of this process."""
    command = " ".join(sys.orig_argv)
    side = next((side for module, side in SIDES.items() if module in command), "service")
    return bool(side == hook.get("side", "service"))


def matches_process(hook: Hook) -> bool:
    """Return True if the command line or the name of this process contains the hook's match."""
    match: str = hook.get("match", "")
    return match in f"{sys.orig_argv} {Path('/proc/self/comm').read_text()}"


def act_at_points(module: Any) -> None:
    """Put the acting `reach` into the module of the fault points."""
    module.reach = reach_with(list(filter(is_for_this_side, json.loads(os.environ[HOOKS]))))


def act_at_launch() -> None:
    """Act at the point that `launch.py` reaches before a worker imports anything."""
    reach_with(list(filter(is_for_this_side, json.loads(os.environ[HOOKS]))))("worker launched")


def launch_with_hooks(module: Any) -> None:
    """Have the service start its children through `launch.py`."""
    module.LAUNCHER = LAUNCHER


def pass_hooks_on(module: Any) -> None:
    """Have the service pass on to its workers what tests set, and what `kill_all` recognises them by."""
    module.PASSED_VARIABLES |= PASSED


def setting(values: dict[str, Any]) -> Callable[[Any], None]:
    """Return what gives constants of a module other values."""
    return lambda module: vars(module).update(values)


HOOKS, CONSTANTS = "RM360_FAULT_HOOKS", "RM360_FAULT_CONSTANTS"
LAUNCHER = Path(__file__).with_name("launch.py")
PASSED = {"RCLONE_CONFIG", *(name for name in os.environ if name.startswith("RM360_"))}
if HOOKS in os.environ:
    sys.meta_path.insert(
        0,
        Finder(
            {
                "rm360_async.system.fault_points": act_at_points,
                "rm360_async.system.processes": launch_with_hooks,
                "rm360_async.system.worker_environment": pass_hooks_on,
                **{name: setting(values) for name, values in json.loads(os.environ.get(CONSTANTS, "{}")).items()},
            }
        ),
    )
if "RM360_DISK_RECORD" in os.environ:  # tests/disk_calls.c raises it after each call that it records
    _RECORD = open(os.environ["RM360_DISK_RECORD"], "ab", buffering=0)  # noqa: SIM115 - as long as the process
    faulthandler.register(signal.SIGUSR1, _RECORD, all_threads=False)
