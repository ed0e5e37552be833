"""Checks of the machine: versions of Python and libraries, ffmpeg, open files, memory, clock, user."""

from __future__ import annotations

import os
import platform
import re
import resource
import sys
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from rm360_async import __version__
from rm360_async.commands.doctor.result import CheckResult, fail, ok, warn
from rm360_async.config import Settings
from rm360_async.domain.formatting import size_text
from rm360_async.ledger import SQLITE_VERSION
from rm360_async.smc import HDF5_VERSION
from rm360_async.system.ffmpeg import find_ffmpeg

_FIRST_YEAR, _END_YEAR = 2024, 2100
_MIN_OPEN_FILES, _ENOUGH_OPEN_FILES, _SUGGESTED_OPEN_FILES = 64, 256, 1024
_MIN_SQLITE = (3, 24)
"""The first SQLite with ON CONFLICT, which the ledger needs (https://sqlite.org/lang_upsert.html)."""


def check_machine(settings: Settings | None, now: float) -> Iterator[CheckResult]:
    """Yield all checks of the machine; that of the memory needs the settings. `now` is in unix seconds."""
    yield from check_versions()
    yield check_user()
    yield check_clock(now)
    yield check_open_files()
    yield check_ffmpeg()
    if settings is not None:
        yield check_memory(settings)


def check_versions() -> Iterator[CheckResult]:
    """Yield the versions in use; fail if the ledger cannot work with this SQLite."""
    system = f"Python {platform.python_version()} on {platform.system()} {platform.release()}"
    yield ok("versions", f"rm360_async {__version__}, {system}")
    yield ok("hdf5", f"h5py {version('h5py')}, HDF5 {HDF5_VERSION}")
    text = f"SQLite {'.'.join(map(str, SQLITE_VERSION))}"
    if SQLITE_VERSION < _MIN_SQLITE:
        yield fail("sqlite", text, "use a Python with SQLite 3.24 or newer")
    else:
        yield ok("sqlite", text)


def check_ffmpeg() -> CheckResult:
    """Return which ffmpeg encodes the MP3 files."""
    path = find_ffmpeg()
    if path is None:
        text = "none found, so no audio.mp3 is written"
        return warn("ffmpeg", text, "install ffmpeg, or: pip install imageio-ffmpeg")
    return ok("ffmpeg", path)


def check_open_files() -> CheckResult:
    """Return how many files a process may have open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = soft == resource.RLIM_INFINITY
    text = f"ulimit -n is {'unlimited' if unlimited else soft}"
    if unlimited or soft >= _ENOUGH_OPEN_FILES:
        return ok("open files", text)
    allowed = _SUGGESTED_OPEN_FILES if hard == resource.RLIM_INFINITY else min(_SUGGESTED_OPEN_FILES, hard)
    return (fail if soft < _MIN_OPEN_FILES else warn)("open files", text, f"ulimit -n {allowed}")


def check_clock(now: float) -> CheckResult:
    """Fail for an impossible date, e.g. 1970 after a reset: it breaks certificates and waits. `now`: unix seconds."""
    text = f"{datetime.fromtimestamp(now).astimezone():%Y-%m-%d %H:%M %Z}"
    if _FIRST_YEAR <= datetime.fromtimestamp(now).year < _END_YEAR:
        return ok("clock", text)
    return fail("clock", f"the system clock is wrong: {text}", "set the clock, e.g. timedatectl set-ntp true")


def check_memory(settings: Settings, meminfo: Path = Path("/proc/meminfo")) -> CheckResult:
    """Compare the memory limit of all extractions together with the memory of the machine."""
    processing = settings.processing
    limit = processing.worker_count * processing.worker_memory_bytes
    text = f"{processing.worker_count} extractions may use {size_text(limit)}"
    total = _total_memory_bytes(meminfo)
    if total is None or limit <= total:
        return ok("memory", text + (f" of {size_text(total)}" if total else ""))
    hint = "lower processing.workers or processing.worker_memory_gb"
    return warn("memory", f"{text}, but the machine has {size_text(total)}", hint)


def _total_memory_bytes(meminfo: Path) -> int | None:
    try:
        match = re.search(r"MemTotal:\s+(\d+) kB", meminfo.read_text())
    except OSError:
        return None
    return int(match[1]) * 1024 if match else None


def check_user() -> CheckResult:
    """Return the user, the mode of new files and folders, and the interpreter."""
    umask = os.umask(0)
    os.umask(umask)
    name = os.environ.get("USER") or str(os.getuid())
    modes = f"new files get mode {0o666 & ~umask:03o}, folders {0o777 & ~umask:03o}"
    return ok("user", f"{name}; {modes}; {sys.executable}")
