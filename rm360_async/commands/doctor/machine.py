"""Python and its libraries, ffmpeg, open files, memory, the clock."""

from __future__ import annotations

import os
import platform
import re
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

_FIRST_YEAR, _LAST_YEAR = 2024, 2100
_FEW_FILES, _ENOUGH_FILES = 64, 256
_UPSERT = (3, 24)
"""The SQLite that brought ON CONFLICT, which the ledger needs (https://sqlite.org/lang_upsert.html)."""


def versions() -> Iterator[CheckResult]:
    """Say what runs here; fail for a SQLite that the ledger cannot work with."""
    here = f"rm360_async {__version__}, Python {platform.python_version()} on {platform.system()} {platform.release()}"
    yield ok("versions", here)
    yield ok("hdf5", f"h5py {version('h5py')}, HDF5 {HDF5_VERSION}")
    too_old = SQLITE_VERSION < _UPSERT
    text = f"SQLite {'.'.join(map(str, SQLITE_VERSION))}"
    yield fail("sqlite", text, "use a Python with SQLite 3.24 or newer") if too_old else ok("sqlite", text)


def ffmpeg() -> CheckResult:
    """Say which ffmpeg makes the MP3s."""
    path = find_ffmpeg()
    if path is None:
        return warn("ffmpeg", "none found, so no audio.mp3 is made", "install ffmpeg, or: pip install imageio-ffmpeg")
    return ok("ffmpeg", path)


def open_files() -> CheckResult:
    """Say how many files a process may have open."""
    try:
        import resource
    except ImportError:
        return ok("open files", "this system has no such limit")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = soft == resource.RLIM_INFINITY
    text = f"ulimit -n is {'unlimited' if unlimited else soft}"
    if unlimited or soft >= _ENOUGH_FILES:
        return ok("open files", text)
    mend = f"ulimit -n {1024 if hard == resource.RLIM_INFINITY else min(1024, hard)}"
    return (fail if soft < _FEW_FILES else warn)("open files", text, mend)


def clock(now: float) -> CheckResult:
    """Say what the clock says; one that stands at its beginning breaks certificates and waits."""
    told = f"{datetime.fromtimestamp(now).astimezone():%Y-%m-%d %H:%M %Z}"
    if _FIRST_YEAR <= datetime.fromtimestamp(now).year < _LAST_YEAR:
        return ok("clock", told)
    return fail("clock", f"{told} cannot be right", "set the clock, e.g. timedatectl set-ntp true")


def memory(settings: Settings, meminfo: Path = Path("/proc/meminfo")) -> CheckResult:
    """Compare what all extractions may take with what is there."""
    processing = settings.processing
    most = processing.worker_count * processing.worker_memory_bytes
    wanted = f"{processing.worker_count} extractions may take {size_text(most)}"
    total = _total_memory(meminfo)
    if total is None or most <= total:
        return ok("memory", wanted + (f" of {size_text(total)}" if total else ""))
    mend = "lower processing.workers or processing.worker_memory_gb"
    return warn("memory", f"{wanted}, and the machine has {size_text(total)}", mend)


def _total_memory(meminfo: Path) -> int | None:
    try:
        match = re.search(r"MemTotal:\s+(\d+) kB", meminfo.read_text())
    except OSError:
        return None
    return int(match[1]) * 1024 if match else None


def user() -> CheckResult:
    """Say who runs this, and the mode that new files get."""
    mask = os.umask(0)
    os.umask(mask)
    name = os.environ.get("USER") or (str(os.getuid()) if hasattr(os, "getuid") else "unknown")
    return ok("user", f"{name}; new files get mode {0o666 & ~mask:03o}, folders {0o777 & ~mask:03o}; {sys.executable}")
