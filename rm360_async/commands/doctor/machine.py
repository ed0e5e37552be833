"""Checks of the machine: versions of Python and libraries, a worker, open files, cores, memory, clock, user."""

from __future__ import annotations

import math
import os
import platform
import resource
import sys
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import version

from rm360_async import __version__
from rm360_async.commands.doctor.result import CheckResult, fail, ok, warn
from rm360_async.config import Settings
from rm360_async.config.machine import MACHINE, Machine
from rm360_async.domain.errors import Fault
from rm360_async.domain.formatting import size_text
from rm360_async.extraction.worker_client import ExtractionWorkers, ProbeResult, WorkerLimits
from rm360_async.ledger import SQLITE_VERSION
from rm360_async.smc import HDF5_VERSION

_FIRST_YEAR, _END_YEAR = 2024, 2100
_MIN_OPEN_FILES, _ENOUGH_OPEN_FILES, _SUGGESTED_OPEN_FILES = 64, 256, 1024
_DEFAULT_MEMORY_BYTES = 4 * 2**30
_LIBRARIES = ("numpy", "h5py", "cv2", "plyfile")
_REINSTALL = "install rm360_async again, into a virtual environment of its own"
_MIN_SQLITE = (3, 24)
"""The first SQLite with ON CONFLICT, which the ledger needs (https://sqlite.org/lang_upsert.html)."""


def check_machine(settings: Settings | None, now: float) -> Iterator[CheckResult]:
    """Yield the checks of the machine but that of a worker; cores and memory need the settings. `now`: unix seconds."""
    yield from check_versions()
    yield check_user()
    yield check_clock(now)
    yield check_open_files()
    if settings is not None:
        yield check_cores(settings)
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


async def check_worker(settings: Settings | None) -> list[CheckResult]:
    """Start a worker as a run does, with its limits, and return what it found out."""
    memory_bytes = settings.processing.worker_memory_bytes if settings is not None else _DEFAULT_MEMORY_BYTES
    try:
        async with ExtractionWorkers() as workers:
            probe = await workers.run_probe(WorkerLimits(memory_bytes, math.inf), _LIBRARIES)
    except Fault as fault:
        hint = "raise the limits of this shell, job or container (ulimit -a), and processing.worker_memory_gb"
        return [fail("worker", fault.message, hint)]
    broken = [fail("libraries", f"{name}: {why}", _REINSTALL) for name, why in probe.library_problems.items()]
    return [ok("worker", f"started with {size_text(memory_bytes)} of memory"), *broken, *_ffmpeg_results(probe)]


def _ffmpeg_results(probe: ProbeResult) -> Iterator[CheckResult]:
    problems = "; ".join(f"{path}: {problem}" for path, problem in probe.ffmpeg_problems.items())
    hint = "install ffmpeg, or: pip install -U imageio-ffmpeg"
    if probe.ffmpeg is None:
        text = f"none encodes MP3 ({problems})" if problems else "none found"
        yield warn("ffmpeg", f"{text}, so no audio.mp3 is written", hint)
        return
    yield ok("ffmpeg", f"{probe.ffmpeg} encoded an MP3" + (f"; passed over {problems}" if problems else ""))


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


def check_cores(settings: Settings, of: Machine = MACHINE) -> CheckResult:
    """Compare the extractions at once with the cores that the machine, container or job gives."""
    count, cores = settings.processing.worker_count, of.cores()
    text = f"{cores} cores may be used, by {count} extractions at once"
    if count <= cores:
        return ok("cores", text)
    return warn("cores", text, "lower processing.workers, or set it to 0: one for each core")


def check_memory(settings: Settings, of: Machine = MACHINE) -> CheckResult:
    """Compare the memory limit of all extractions together with the memory of the machine, container or job."""
    processing = settings.processing
    limit = processing.worker_count * processing.worker_memory_bytes
    text = f"{processing.worker_count} extractions may use {size_text(limit)}"
    total = of.memory_bytes()
    if total is None or limit <= total:
        return ok("memory", text + (f" of {size_text(total)}" if total else ""))
    hint = "lower processing.workers or processing.worker_memory_gb"
    return warn("memory", f"{text}, but the machine or container has {size_text(total)}", hint)


def check_user() -> CheckResult:
    """Return the user, the mode of new files and folders, and the interpreter."""
    umask = os.umask(0)
    os.umask(umask)
    name = os.environ.get("USER") or str(os.getuid())
    modes = f"new files get mode {0o666 & ~umask:03o}, folders {0o777 & ~umask:03o}"
    return ok("user", f"{name}; {modes}; {sys.executable}")
